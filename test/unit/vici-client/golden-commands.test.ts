// Every command against what swanctl asked and a real charon answered (see the head of each file in test/golden/vici).
import { describe, expect, test } from "vitest";
import { getAlgorithms } from "../../../src/vici-client/algorithms.ts";
import {
  getAuthorities,
  listAuthorities,
  loadAuthority,
  unloadAuthority,
} from "../../../src/vici-client/authorities.ts";
import { clearCreds, flushCerts, listCerts, loadCert } from "../../../src/vici-client/certs.ts";
import { initiate, listConns, listSas, redirect, rekey, terminate } from "../../../src/vici-client/commands.ts";
import {
  getAllConnCounters,
  getConnCounters,
  getCounters,
  resetAllConnCounters,
} from "../../../src/vici-client/counters.ts";
import { reloadSettings } from "../../../src/vici-client/daemon.ts";
import { decodeEvent, type LogLine } from "../../../src/vici-client/events.ts";
import { getKeys, loadKey, unloadKey } from "../../../src/vici-client/keys.ts";
import type { Section } from "../../../src/vici-client/message.ts";
import { install, listPolicies, uninstall } from "../../../src/vici-client/policies.ts";
import { getPoolLeases, getPools, loadPool, unloadPool } from "../../../src/vici-client/pools.ts";
import type { ViciRequester } from "../../../src/vici-client/session.ts";
import { aCharon, askedBySwanctl, recorded, recordedEvents } from "./requesters.ts";

const valueIn = (section: Section | undefined, key: string): string | Uint8Array => {
  const value = section?.get(key);
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  throw new Error(`the recording has no ${key}`);
};
/** Of the nth command of the recording. */
const argOf = (name: string, nth: number, key: string) => valueIn(askedBySwanctl(name)[nth]?.args, key);
const caCertOf = (authority: string): string | Uint8Array => {
  for (const { args } of askedBySwanctl("load-authorities")) {
    const section = args.get(authority);
    if (section instanceof Map) return valueIn(section as Section, "cacert");
  }
  throw new Error(`the recording has no ${authority}`);
};

type Ask = (vici: ViciRequester) => Promise<unknown>;

const asks: readonly (readonly [string, readonly Ask[]])[] = [
  ["get-algorithms", [getAlgorithms]],
  ["get-counters", [getCounters]],
  ["get-counters-all", [getAllConnCounters]],
  ["get-counters-missing", [(vici) => getConnCounters(vici, "nobody")]],
  ["reset-counters-all", [resetAllConnCounters]],
  ["install", [(vici) => install(vici, { ike: "peer-1", child: "net" })]],
  ["uninstall", [(vici) => uninstall(vici, { ike: "peer-1", child: "net" })]],
  ["list-policies", [(vici) => listPolicies(vici)]],
  [
    "load-authorities",
    [
      getAuthorities,
      (vici) =>
        loadAuthority(vici, "test-ca", {
          caCert: caCertOf("test-ca"),
          crlUris: ["http://crl.example/ca.crl", "http://crl2.example/ca.crl"],
          ocspUris: ["http://ocsp.example"],
          certUriBase: "http://certs.example/hash/",
        }),
      (vici) => loadAuthority(vici, "bare", { caCert: caCertOf("bare") }),
    ],
  ],
  ["unload-authority", [getAuthorities, (vici) => unloadAuthority(vici, "bare")]],
  ["list-authorities", [(vici) => listAuthorities(vici)]],
  [
    "load-cert",
    [
      (vici) => loadCert(vici, { type: "X509", flag: "NONE", data: argOf("load-cert", 0, "data") }),
      (vici) => loadCert(vici, { type: "X509", flag: "CA", data: argOf("load-cert", 1, "data") }),
      (vici) => loadCert(vici, { type: "X509_CRL", data: argOf("load-cert", 2, "data") }),
      (vici) => loadCert(vici, { type: "PUBKEY", data: argOf("load-cert", 3, "data") }),
    ],
  ],
  ["unload-key", [getKeys, (vici) => unloadKey(vici, "04ae53c072ae83ce191d944c0b94760c6485a1c8")]],
  ["clear-creds", [clearCreds, getKeys]],
  ["list-certs", [(vici) => listCerts(vici)]],
  [
    "load-pools",
    [
      (vici) => getPools(vici),
      (vici) => loadPool(vici, "road", { addrs: "10.9.0.0/24", attributes: { dns: ["10.9.0.1", "fd00:9::1"] } }),
      (vici) => loadPool(vici, "range", { addrs: "10.10.0.10-10.10.0.19" }),
      (vici) => loadPool(vici, "six", { addrs: "fd00:9::/120" }),
    ],
  ],
  ["unload-pools", [(vici) => getPools(vici), (vici) => unloadPool(vici, "road"), (vici) => unloadPool(vici, "range")]],
  ["get-pools", [(vici) => getPoolLeases(vici)]],
  ["reload-settings", [reloadSettings]],
  ["redirect", [(vici) => redirect(vici, { ike: "peer-1", gateway: "192.0.2.9" })]],
  ["redirect-missing", [(vici) => redirect(vici, { peerIp: "198.51.100.0/24", gateway: "192.0.2.9" })]],
  ["rekey", [(vici) => rekey(vici, { ike: "peer-1" })]],
  [
    "initiate-refused",
    [
      (vici) =>
        initiate(
          vici,
          { ike: "child-proposal", child: "child-proposal" },
          { waitMs: 15_000, logLevel: 1, onLog: () => undefined },
        ),
    ],
  ],
  [
    "terminate",
    [
      (vici) =>
        terminate(vici, { ike: "peer-1", force: true }, { waitMs: 20_000, logLevel: 1, onLog: () => undefined }),
    ],
  ],
];

test.each(asks)("%s is asked for as swanctl does", async (name, commands) => {
  const { vici, sent } = aCharon({ success: "yes" });
  // What comes of answers that are made up for all of them alike is not the question here.
  for (const ask of commands) await ask(vici).catch(() => undefined);
  expect(sent.map(({ command, event, args }) => ({ command, event, args }))).toEqual(askedBySwanctl(name));
});

test("a filter for certificates is asked for as swanctl does, but for the case, which charon ignores", async () => {
  const { vici, sent } = aCharon({});
  await listCerts(vici, { type: "X509", flag: "CA" });
  const [asked] = askedBySwanctl("list-certs-ca");
  const words = (args: Section | undefined) => JSON.stringify([...(args ?? [])]).toLowerCase();
  expect(words(sent[0]?.args)).toEqual(words(asked?.args));
});

describe("charon's answers are read", () => {
  test("which algorithms it has and who provides them", async () => {
    const has = await getAlgorithms(recorded("get-algorithms"));
    expect(Object.fromEntries(Object.entries(has).map(([type, found]) => [type, found.size]))).toEqual({
      encryption: 12,
      integrity: 11,
      aead: 7,
      hash: 12,
      prf: 6,
      xof: 2,
      keyDerivation: 2,
      drbg: 0,
      keyExchange: 23,
      random: 3,
      nonce: 1,
    });
    expect(has.encryption.get("AES_CBC")).toBe("aes");
    expect(has.aead.get("CHACHA20_POLY1305")).toBe("openssl");
    expect(has.integrity.has("HMAC_SHA2_256_128")).toBe(true);
    expect(has.keyExchange.get("MODP_2048")).toBe("openssl");
    expect(has.keyExchange.has("ML_KEM_768")).toBe(false);
  });

  test("key exchanges under the new name that they have from 6.0 on", async () => {
    const of601 = await getAlgorithms(recorded("get-algorithms-6.0.1"));
    const of610 = await getAlgorithms(recorded("get-algorithms-6.1.0"));
    expect([of601.keyExchange.size, of610.keyExchange.size]).toEqual([23, 26]);
    expect(of610.keyExchange.get("ML_KEM_768")).toBe("openssl");
  });

  test("the counters of all connections together, which have a name of no bytes", async () => {
    expect(await getCounters(recorded("get-counters"))).toEqual({
      ikeRekeyInitiatedCount: 0,
      ikeRekeyRespondedCount: 0,
      childRekeyCount: 0,
      invalidMessageCount: 0,
      invalidSpiCount: 0,
      ikeInitRequestInCount: 0,
      ikeInitResponseInCount: 1,
      ikeInitRequestOutCount: 1,
      ikeInitResponseOutCount: 0,
      ikeAuthRequestInCount: 0,
      ikeAuthResponseInCount: 1,
      ikeAuthRequestOutCount: 1,
      ikeAuthResponseOutCount: 0,
      createChildRequestInCount: 0,
      createChildResponseInCount: 0,
      createChildRequestOutCount: 0,
      createChildResponseOutCount: 0,
      informationalRequestInCount: 0,
      informationalResponseInCount: 0,
      informationalRequestOutCount: 0,
      informationalResponseOutCount: 0,
    });
  });

  test("the counters of each connection", async () => {
    const counters = await getAllConnCounters(recorded("get-counters-all"));
    expect([...counters.keys()]).toEqual(["peer-1"]);
    expect(counters.get("peer-1")).toMatchObject({ ikeAuthRequestOutCount: 1, ikeAuthRequestInCount: 0 });
  });

  test("no counters for a connection are a refusal", async () => {
    await expect(getConnCounters(recorded("get-counters-missing"), "nobody")).rejects.toThrow(
      "charon refused get-counters: no counters found for this connection",
    );
  });

  test("an installed trap, and a shunt that the back end refuses", async () => {
    await install(recorded("install"), { ike: "peer-1", child: "net" });
    await uninstall(recorded("uninstall"), { ike: "peer-1", child: "net" });
    await expect(install(recorded("install-refused"), { ike: "peer-1", child: "passed" })).rejects.toThrow(
      "charon refused install: installing policy 'passed' failed",
    );
  });

  const trap = {
    kind: "trap",
    child: "net",
    ike: "peer-1",
    mode: "TUNNEL",
    label: undefined,
    reqId: undefined,
    localTs: ["10.1.0.0/24"],
    remoteTs: ["10.2.0.0/24"],
  };

  test("a trap in list-policies, with its reqid where charon tells it", async () => {
    expect(await listPolicies(recorded("list-policies"))).toEqual([trap]);
    expect(await listPolicies(recorded("list-policies-6.1.0"))).toContainEqual({ ...trap, reqId: 1 });
  });

  test("traps and shunts with kernel ESP", async () => {
    expect(await listPolicies(recorded("list-policies-6.0.1"))).toEqual([
      trap,
      {
        kind: "pass",
        child: "passed",
        ike: "peer-1",
        label: undefined,
        localTs: ["10.5.0.0/24[tcp/ssh]"],
        remoteTs: ["10.6.0.0/24"],
      },
      {
        kind: "drop",
        child: "dropped",
        ike: "peer-1",
        label: undefined,
        localTs: ["10.7.0.0/24"],
        remoteTs: ["10.8.0.0/24", "fd00:8::/64"],
      },
    ]);
  });

  test("authorities by name and in full", async () => {
    expect(await getAuthorities(recorded("unload-authority"))).toEqual(["test-ca", "bare"]);
    expect(await listAuthorities(recorded("list-authorities"))).toEqual([
      {
        name: "test-ca",
        caSubject: "C=CH, O=Example, CN=Example CA",
        crlUris: ["http://crl.example/ca.crl", "http://crl2.example/ca.crl"],
        ocspUris: ["http://ocsp.example"],
        certUriBase: "http://certs.example/hash/",
      },
      {
        name: "bare",
        caSubject: "C=CH, O=Example, CN=Example CA",
        crlUris: [],
        ocspUris: [],
        certUriBase: undefined,
      },
    ]);
  });

  test("certificates of every kind that was loaded, as bytes", async () => {
    const certs = await listCerts(recorded("list-certs"));
    const derOf = (kind: string) =>
      certs
        .find((cert) => cert.kind === kind)
        ?.der.subarray(0, 2)
        .toString("hex");
    expect(certs.map((cert) => [cert.kind, cert.hasPrivateKey])).toEqual([
      ["publicKey", false],
      ["x509", true],
      ["x509", false],
      ["x509Crl", false],
    ]);
    expect(certs.map((cert) => (cert.kind === "x509" ? cert.flag : undefined))).toEqual([
      undefined,
      "NONE",
      "CA",
      undefined,
    ]);
    expect([derOf("publicKey"), derOf("x509"), derOf("x509Crl")]).toEqual(["3059", "3082", "3081"]);
    expect(certs[0]).toMatchObject({ subject: undefined, notBefore: undefined, notAfter: undefined });
  });

  test("a filter for CAs gives the CA's certificate, the same bytes that were loaded", async () => {
    const [ca, ...others] = await listCerts(recorded("list-certs-ca"), { type: "X509", flag: "CA" });
    expect(others).toEqual([]);
    const pem = String(argOf("load-cert", 1, "data")).replace(/-----[^-]+-----|\s/g, "");
    expect(ca?.der.toString("base64")).toBe(pem);
  });

  test("the id of a key, while it is loaded", async () => {
    const id = "04ae53c072ae83ce191d944c0b94760c6485a1c8";
    expect(await loadKey(recorded("load-key"), { type: "any", data: "not sent anywhere" })).toBe(id);
    const unloading = recorded("unload-key");
    expect(await getKeys(unloading)).toEqual([id]);
    await unloadKey(unloading, id);
    const clearing = recorded("clear-creds");
    await clearCreds(clearing);
    expect(await getKeys(clearing)).toEqual([]);
  });

  test("a flushed cache", async () => {
    await flushCerts(recorded("flush-certs-crl"), "X509_CRL");
  });

  const road = { name: "road", addressCount: 254, onlineCount: 1, offlineCount: 0 };
  const lease = { address: "10.9.0.1", identity: "192.0.2.1", isOnline: true };

  test("pools with their leases", async () => {
    expect(await getPoolLeases(recorded("get-pools"))).toEqual([
      { ...road, baseAddress: "10.9.0.0", leases: [lease] },
      { name: "range", baseAddress: "10.10.0.10", addressCount: 10, onlineCount: 0, offlineCount: 0, leases: [] },
      { name: "six", baseAddress: "fd00:9::", addressCount: 254, onlineCount: 0, offlineCount: 0, leases: [] },
    ]);
  });

  test("a subnet's pool begins with its first address in 6.0.1", async () => {
    const [first] = await getPoolLeases(recorded("get-pools-6.0.1"));
    expect(first).toEqual({ ...road, baseAddress: "10.9.0.1", leases: [lease] });
  });

  test("pools whose client has gone keep its lease", async () => {
    expect(await getPools(recorded("unload-pools"))).toContainEqual({
      ...road,
      baseAddress: "10.9.0.0",
      onlineCount: 0,
      offlineCount: 1,
    });
  });

  test("how many SAs were redirected, and that none matched", async () => {
    expect(await redirect(recorded("redirect"), { ike: "peer-1", gateway: "192.0.2.9" })).toEqual({ matchCount: 1 });
    await expect(redirect(recorded("redirect-missing"), { ikeId: 1, gateway: "192.0.2.9" })).rejects.toThrow(
      "charon refused redirect: no matching SAs to redirect found",
    );
    expect(await rekey(recorded("rekey"), { ike: "peer-1" })).toEqual({ matchCount: 1 });
  });

  test("the lines of an initiate that the peer refuses, then the refusal", async () => {
    const lines: LogLine[] = [];
    const initiating = initiate(
      recorded("initiate-refused"),
      { child: "child-proposal" },
      { waitMs: 15_000, onLog: (line) => lines.push(line) },
    );
    await expect(initiating).rejects.toThrow("charon refused initiate: establishing CHILD_SA 'child-proposal' failed");
    expect(lines.map((line) => line.text)).toContain("received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built");
  });

  test("the lines of a terminate, then what it met", async () => {
    const lines: LogLine[] = [];
    const options = { waitMs: 20_000, onLog: (line: LogLine) => lines.push(line) };
    expect(await terminate(recorded("terminate"), { ike: "peer-1" }, options)).toEqual({
      matchCount: 2,
      terminatedCount: 2,
    });
    expect(lines.at(-1)).toEqual({
      group: "IKE",
      level: 0,
      threadId: undefined,
      ikeSaName: "peer-1",
      ikeSaUniqueId: 2,
      text: "IKE_SA deleted",
    });
  });

  test("marks, interface ids and IPComp of a child with kernel ESP", async () => {
    const [sa] = await listSas(recorded("list-sas-6.0.1"));
    expect(sa?.localVirtualIps).toEqual(["10.9.0.1"]);
    expect(sa?.childSas).toMatchObject([
      { name: "net", markIn: undefined, interfaceIdIn: undefined, cpiIn: undefined },
      {
        name: "marked",
        markIn: { value: 0x2a, mask: 0xff },
        markOut: { value: 0x2b, mask: 0xffffffff },
        interfaceIdIn: 7,
        interfaceIdOut: 8,
        cpiIn: "6d0e",
        cpiOut: "353a",
        isEncapsulated: false,
        algorithms: { encryption: "AES_GCM_16", integrity: undefined, dhGroup: "CURVE_25519" },
      },
    ]);
  });

  test("the second key exchange of a child", async () => {
    const [sa] = await listSas(recorded("list-sas-6.1.0"));
    expect(sa?.childSas[1]?.algorithms).toMatchObject({
      dhGroup: "CURVE_25519",
      additionalKeyExchanges: ["ML_KEM_768"],
    });
  });

  test("proposals of a connection and its children, from 6.1.0 on", async () => {
    const [conn] = await listConns(recorded("list-conns-6.1.0"));
    expect(conn).toMatchObject({ localPort: 500, remotePort: 500 });
    expect(conn?.proposals).toEqual([
      new Map([
        ["encr", ["AES_CBC_256"]],
        ["integ", ["HMAC_SHA2_256_128"]],
        ["prf", ["PRF_HMAC_SHA2_256"]],
        ["ke", ["MODP_2048"]],
      ]),
    ]);
    expect(conn?.children[1]).toMatchObject({ name: "marked", ahProposals: [] });
    expect(conn?.children[1]?.espProposals?.[0]?.get("ake1")).toEqual(["ML_KEM_768"]);
    const [older] = await listConns(recorded("list-conns"));
    expect([older?.proposals, older?.children[0]?.espProposals]).toEqual([undefined, undefined]);
  });
});

describe("charon's events are read", () => {
  const decoded = (name: string) => recordedEvents(name).map((event) => decodeEvent(event.name, event.message));

  test("the address of an SA changes", () => {
    const update = decoded("events-move").find((event) => event.kind === "ikeUpdate");
    expect(update).toMatchObject({
      localHost: "192.0.2.7",
      localPort: 4500,
      remoteHost: "192.0.2.2",
      ikeSa: { name: "peer-1", localHost: "192.0.2.1", tasksActive: ["IKE_MOBIKE"] },
    });
  });

  test("a child is rekeyed because of it", () => {
    expect(decoded("events-move").find((event) => event.kind === "childRekey")).toMatchObject({
      ikeSa: { localHost: "192.0.2.7", localVirtualIps: ["10.9.0.1"] },
      old: { name: "net", state: "REKEYED" },
      new: { name: "net", state: "INSTALLED" },
    });
  });

  test("alerts of 6.1.0 about what the peer refuses, each with its SA", () => {
    const alerts = decoded("events-alert-6.1.0").map((event) =>
      event.kind === "alert" ? [event.type, event.ikeSa?.name, event.ikeSa?.state] : event.kind,
    );
    expect(alerts).toEqual([
      ["proposal-mismatch-ike", "ike-proposal", "CONNECTING"],
      ["proposal-mismatch-child", "child-proposal", "ESTABLISHED"],
      ["keep-on-child-sa-failure", "child-proposal", "ESTABLISHED"],
      ["ts-mismatch", "child-proposal", "ESTABLISHED"],
      ["keep-on-child-sa-failure", "child-proposal", "ESTABLISHED"],
    ]);
  });

  test.each([
    ["list-sas", "listSa"],
    ["list-policies", "listPolicy"],
    ["list-conns", "listConn"],
    ["list-certs", "listCert"],
    ["list-authorities", "listAuthority"],
    ["terminate", "controlLog"],
  ])("those that %s streams", (name, kind) => {
    const kinds = new Set(decoded(name).map((event) => event.kind));
    expect([...kinds]).toEqual([kind]);
  });
});
