// Whose bus it is, told by what the claim and the connection say.
import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";
import { createTenure, type Tenure } from "../../../src/controller/tenure.ts";

const HELD = { kind: "held", by: "gw-1 (pid 7, documents /d)" } as const;

let happened: string[];
let lines: string[];
let tenure: Tenure;

beforeEach(() => {
  happened = [];
  lines = [];
  tenure = createTenure({
    log: pino({}, { write: (line: string) => void lines.push(line) }),
    onBegin: () => happened.push("begin"),
    onReturn: () => happened.push("return"),
    onRefused: (error) => happened.push(`${error.code}: ${error.message}`),
  });
});

test("a bus that was never ours is refused, with the name of who has it", () => {
  tenure.barred(HELD);
  expect(happened).toEqual([
    "BUS_TAKEN: another controller serves this bus: gw-1 (pid 7, documents /d); stop the other one, or use another virtual host",
  ]);
  expect(lines).toEqual([]);
});

test.each([
  [
    { kind: "held", by: undefined } as const,
    "another controller has this bus (its queue swanherd.controller), but does not answer who it is",
  ],
  [
    { kind: "consumed", queue: "ipsec_driver", consumers: 1 } as const,
    "somebody else serves this bus, perhaps a Neutron server: ipsec_driver has 1 consumer",
  ],
  [
    { kind: "consumed", queue: "ipsec_driver", consumers: 2 } as const,
    "somebody else serves this bus, perhaps a Neutron server: ipsec_driver has 2 consumers",
  ],
])("who has it is told as far as it is known: %j", (bar, text) => {
  tenure.barred(bar);
  expect(tenure.barredBy).toBe(text);
});

test("a connection that comes back without anybody in between is nothing to tell", () => {
  tenure.served();
  tenure.served();
  expect([happened, lines, tenure.barredBy]).toEqual([["begin"], [], undefined]);
});

test("one that was ours and is not is told once, stood by for, and told again when it comes back", () => {
  tenure.served();
  tenure.barred(HELD);
  expect(happened).toEqual(["begin"]);
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { level: 50, barredBy: expect.stringContaining("gw-1 (pid 7") as unknown },
  ]);
  tenure.served();
  expect(happened).toEqual(["begin", "return"]);
  expect(tenure.barredBy).toBeUndefined();
});
