// TLS to a real broker that wants certificates: what gets in, and in which words the rest is told.
import { writeFileSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createBroker } from "../../../src/io/rabbit/broker.ts";
import { defaultConnectionSettings } from "../../../src/io/rabbit/connection.ts";
import { noTls, type TlsSettings } from "../../../src/io/rabbit/tls.ts";
import { type Authority, createCertificates, type Pair } from "../../support/certificates.ts";
import { createCleanup, rememberingLog, startBroker, transportUrl } from "../../support/broker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";
import { type PrivateRabbitmq, startPrivateRabbitmq } from "../../../scripts/private-rabbitmq.ts";

const whole = createCleanup();
const cleanup = createCleanup();
const certificates = createCertificates();
whole.add(() => certificates.remove());
afterAll(() => whole.run());
afterEach(() => cleanup.run());

let ours: Authority;
let strangers: Authority;
let client: Pair;
let strict: PrivateRabbitmq;
beforeAll(async () => {
  ours = certificates.authority("our-ca");
  strangers = certificates.authority("another-ca");
  client = ours.issue("gw-left", "DNS:gw-left");
  const server = ours.issue("mq1", "DNS:localhost,IP:127.0.0.1");
  const listener = { ...server, caFile: ours.certFile, wantsClientCertificate: true, isLogin: true };
  strict = await startPrivateRabbitmq({ tls: listener });
  whole.add(() => strict.stop());
});

const soon = { timeoutMs: 10_000 };
const pong = { m: () => Promise.resolve("pong") };
const tls = (more: Partial<TlsSettings>): TlsSettings => ({ ...noTls, enabled: true, caFile: ours.certFile, ...more });
const withTls = (settings: TlsSettings) => ({ connection: { ...defaultConnectionSettings, tls: settings } });
const urlOf = (host: string, port: number | undefined): string => `rabbit://guest:guest@${host}:${String(port)}/`;

/** What is told of a broker that cannot be had: the message, and those of its causes. */
async function refusal(settings: TlsSettings, host = "127.0.0.1", port = strict.tlsPort): Promise<string> {
  const { log, lines } = rememberingLog();
  const broker = createBroker({ url: transportUrl(urlOf(host, port)), log, ...withTls(settings) });
  cleanup.add(() => broker.close());
  broker.start();
  const line = await eventually(() => lines.find(({ level }) => level >= 40), { what: "the refusal is told" });
  expect(line).toMatchObject({ msg: "cannot use the broker, will retry", broker: `${host}:${String(port)}` });
  expect(broker.isConnected).toBe(false);
  expect(JSON.stringify(lines)).not.toContain("BEGIN");
  return (line["err"] as { message: string }).message;
}

describe("with a client certificate and the broker's authority", () => {
  test.each([["127.0.0.1"], ["localhost"]])("calls go through at %s", async (host) => {
    const topic = randomUUID();
    const url = urlOf(host, strict.tlsPort);
    const { broker, lines } = await startBroker(cleanup, url, (b) => b.serve(topic, pong), withTls(tls(client)));
    expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
    expect(lines.filter(({ level }) => level >= 40)).toEqual([]);
    expect(await strict.ctl("-q", "list_connections", "ssl", "peer_cert_subject")).toContain("true\tCN=gw-left");
  });
});

test("the certificate is the login where EXTERNAL is asked for, and the URL needs no password", async () => {
  await strict.ctl("add_user", "gw-left", "a password that nobody uses");
  await strict.ctl("set_permissions", "gw-left", ".*", ".*", ".*");
  const connection = { ...defaultConnectionSettings, loginMethod: "EXTERNAL", tls: tls(client) } as const;
  const url = `rabbit://127.0.0.1:${String(strict.tlsPort)}/`;
  const topic = randomUUID();
  const { broker } = await startBroker(cleanup, url, (b) => b.serve(topic, pong), { connection });
  expect(await broker.call(topic, "m", {}, soon)).toBe("pong");
  expect(await strict.ctl("-q", "list_connections", "user", "auth_mechanism")).toContain("gw-left\tEXTERNAL");
});

describe("what is wrong is told in words that name the setting", () => {
  test("another authority than the one that signed the broker's certificate", async () => {
    expect(await refusal(tls({ ...client, caFile: strangers.certFile }))).toMatch(/not signed by .*amqp\.tls\.caFile/);
  });

  test("no authority given, and none of those that everybody knows", async () => {
    expect(await refusal(tls({ ...client, caFile: null }))).toMatch(/not signed by .*amqp\.tls\.caFile/);
  });

  test("no certificate of ours where the broker wants one", async () => {
    expect(await refusal(tls({}))).toMatch(/wants a certificate of ours: amqp\.tls\.certFile/);
  });

  test("a certificate of ours that the broker does not trust", async () => {
    const wrong = strangers.issue("intruder", "DNS:intruder");
    expect(await refusal(tls(wrong))).toMatch(/refuses our certificate: amqp\.tls\.certFile/);
  });

  test("a port without TLS", async () => {
    expect(await refusal(tls(client), "127.0.0.1", strict.port)).toMatch(/no TLS is spoken at that port/);
  });

  test("a file that is not there, and one that is no PEM", async () => {
    const absent = join(certificates.directory, "absent.pem");
    const junk = join(certificates.directory, "junk.pem");
    writeFileSync(junk, "not a certificate\n");
    expect(await refusal(tls({ ...client, caFile: absent }))).toContain(
      `amqp.tls.caFile names ${absent}, which cannot be read`,
    );
    expect(await refusal(tls({ ...client, caFile: junk }))).toMatch(/amqp\.tls\.caFile .* no usable PEM certificate/);
    expect(await refusal(tls({ ...client, keyFile: junk }))).toMatch(/amqp\.tls\.keyFile .* no usable PEM private key/);
  });

  test("a key that belongs to another certificate", async () => {
    const { keyFile } = ours.issue("gw-right", "DNS:gw-right");
    expect(await refusal(tls({ ...client, keyFile }))).toMatch(/do not make a pair/);
  });
});

describe("a broker whose certificate is for another name, or has expired", () => {
  let misnamed: PrivateRabbitmq;
  let expired: PrivateRabbitmq;
  beforeAll(async () => {
    const listener = { caFile: ours.certFile, wantsClientCertificate: false };
    misnamed = await startPrivateRabbitmq({ tls: { ...ours.issue("mq2", "DNS:mq2.example"), ...listener } });
    whole.add(() => misnamed.stop());
    const old = ours.issue("mq3", "DNS:localhost,IP:127.0.0.1", { isExpired: true });
    expired = await startPrivateRabbitmq({ tls: { ...old, ...listener } });
    whole.add(() => expired.stop());
  });

  test("is refused, each for its reason", async () => {
    expect(await refusal(tls({}), "127.0.0.1", misnamed.tlsPort)).toMatch(/for another name or address/);
    expect(await refusal(tls({}), "localhost", misnamed.tlsPort)).toMatch(/for another name or address/);
    expect(await refusal(tls({}), "127.0.0.1", expired.tlsPort)).toMatch(/has expired/);
  });

  test("is taken where only its chain is looked at, and that is still looked at", async () => {
    const settings = tls({ verify: "chain" });
    const { broker } = await startBroker(cleanup, urlOf("127.0.0.1", misnamed.tlsPort), undefined, withTls(settings));
    expect(broker.isConnected).toBe(true);
    const wrong = tls({ verify: "chain", caFile: strangers.certFile });
    expect(await refusal(wrong, "127.0.0.1", misnamed.tlsPort)).toMatch(/not signed by/);
  });

  test("is taken where nothing is looked at", async () => {
    const settings = tls({ verify: "none", caFile: null });
    const { broker } = await startBroker(cleanup, urlOf("127.0.0.1", expired.tlsPort), undefined, withTls(settings));
    expect(broker.isConnected).toBe(true);
  });
});

test("a renewed certificate is taken up at the next connect, without a restart", async () => {
  const wire = await startTcpProxy(strict.tlsPort ?? 0);
  cleanup.add(() => wire.close());
  const mine = {
    certFile: join(certificates.directory, "mine.pem"),
    keyFile: join(certificates.directory, "mine.key"),
  };
  const put = (pair: Pair): void => {
    copyFileSync(pair.certFile, mine.certFile);
    copyFileSync(pair.keyFile, mine.keyFile);
  };
  put(client);
  const { broker } = await startBroker(cleanup, urlOf("127.0.0.1", wire.port), undefined, withTls(tls(mine)));
  put(ours.issue("gw-renewed", "DNS:gw-renewed"));
  wire.cut();
  await eventually(() => !broker.isConnected, { what: "the loss is noticed" });
  wire.mend();
  await eventually(() => broker.isConnected, { what: "connected again" });
  expect(await strict.ctl("-q", "list_connections", "peer_cert_subject")).toContain("CN=gw-renewed");
});
