// Where a router of Neutron's L3 agent is, and which role it has on this machine.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { createRouterHost, routerOfName, routerPlace } from "../../../../src/io/l3-agent/router-host.ts";
import { eventually } from "../../../support/eventually.ts";
import { ROUTER } from "../../../support/network-builders.ts";

const NAMES = { namespace: "qrouter-{id}", snatNamespace: "snat-{id}" };

test("B-41: with DVR the namespace of the centralized part is the one, where it is there", () => {
  const own = `qrouter-${ROUTER}`;
  const snat = `snat-${ROUTER}`;
  const placeWith = (...there: readonly string[]) =>
    routerPlace(ROUTER, { ...NAMES, exists: (name) => there.includes(name) });
  expect(placeWith(own)).toEqual({ namespace: own, candidates: [own, snat] });
  expect(placeWith(own, snat).namespace).toBe(snat);
  expect(placeWith().namespace).toBe(own);
});

test("only names of the scheme are a router's", () => {
  expect(routerOfName(`qrouter-${ROUTER}`, NAMES)).toBe(ROUTER);
  expect(routerOfName(`snat-${ROUTER}`, NAMES)).toBe(ROUTER);
  for (const name of [`qvpn-${ROUTER}`, `qrouter-${ROUTER}x`, "qrouter-left", ROUTER, "fip-1"])
    expect(routerOfName(name, NAMES), name).toBeUndefined();
});

describe("the role", () => {
  const aHost = () => {
    const directory = mkdtempSync(path.join(tmpdir(), "swanherd-ha-"));
    const logged: string[] = [];
    const log = pino({ level: "warn" }, { write: (line: string) => void logged.push(line) });
    const haStateFile = path.join(directory, "ha_confs", "{id}", "state");
    const host = createRouterHost({ ...NAMES, haStateFile, exists: () => false }, log);
    onTestFinished(() => {
      host.close();
      rmSync(directory, { recursive: true });
    });
    const own = path.join(directory, "ha_confs", ROUTER);
    const write = (word: string): void => {
      mkdirSync(own, { recursive: true });
      writeFileSync(path.join(own, "state"), word);
    };
    return { host, own, write, logged };
  };

  test("without a directory of its own a router has no high availability, and is carried", () => {
    expect(aHost().host.role(ROUTER)).toEqual({ kind: "active" });
  });

  test.each([
    ["primary", "active", 0],
    ["primary\n", "active", 0],
    ["master", "active", 0],
    ["backup", "standby", 0],
    ["fault", "standby", 0],
    ["", "standby", 1],
    ["prim", "standby", 1],
  ] as const)("%j is %s, with %i warnings", (word, kind, warnings) => {
    const { host, write, logged } = aHost();
    write(word);
    expect(host.role(ROUTER).kind).toBe(kind);
    host.role(ROUTER);
    expect(logged).toHaveLength(warnings);
  });

  test("a file that cannot be read, or is not there yet, is backup", () => {
    const { host, own, logged } = aHost();
    mkdirSync(own, { recursive: true });
    expect(host.role(ROUTER)).toMatchObject({ kind: "standby", why: expect.stringContaining("ENOENT") as string });
    mkdirSync(path.join(own, "state"));
    expect(host.role(ROUTER)).toMatchObject({ kind: "standby", why: expect.stringContaining("EISDIR") as string });
    expect(logged).toHaveLength(2);
  });

  test("changes are told, from before the directories are there until they are gone and come again", async () => {
    const { host, own, write } = aHost();
    let told = "";
    onTestFinished(host.watchRole(ROUTER, () => (told = host.role(ROUTER).kind)));
    const becomes = (kind: string) => eventually(() => told === kind || undefined, { what: `${kind} is told` });
    write("backup");
    await becomes("standby");
    write("primary");
    await becomes("active");
    write("backup");
    await becomes("standby");
    rmSync(own, { recursive: true });
    await becomes("active");
    write("fault");
    await becomes("standby");
  });
});
