// The world's own way to the internet: what a router's hosts reach beside any VPN, and as whom.
import { randomBytes, randomUUID } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { createWorld, startCapture } from "../../../scripts/world.ts";

test("a host behind a router with an egress reaches the internet in IPv4 and IPv6, masqueraded", async () => {
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const world = await createWorld({
    prefix,
    sides: [
      {
        routerId: randomUUID(),
        lan: ["10.1.0.1/24", "fd00:1::1/64"],
        hosts: [{ name: "left", addresses: ["10.1.0.9/24", "fd00:1::9/64"], gateways: ["10.1.0.1", "fd00:1::1"] }],
        egress: {
          addresses: ["203.0.113.110/24", "2001:db8:ff::110/64"],
          gateways: ["203.0.113.1", "2001:db8:ff::1"],
        },
      },
    ],
  });
  onTestFinished(() => world.destroy());
  const capture = await startCapture({ interface: world.bridge, filter: "icmp or icmp6[0] = 128" });
  expect((await world.ping("left", "203.0.113.1")).received).toBe(1);
  expect((await world.ping("left", "2001:db8:ff::1")).received).toBe(1);
  const requests = (await capture.stop()).filter((line) => line.includes("echo request"));
  expect(requests.map((line) => /(\S+) > (\S+):/.exec(line)?.slice(1))).toEqual([
    ["203.0.113.110", "203.0.113.1"],
    ["2001:db8:ff::110", "2001:db8:ff::1"],
  ]);
});

test("a host behind a router without an egress does not reach the internet", async () => {
  const world = await createWorld({
    prefix: `t${randomBytes(3).toString("hex")}`,
    sides: [
      {
        routerId: randomUUID(),
        lan: ["10.1.0.1/24"],
        hosts: [{ name: "left", addresses: ["10.1.0.9/24"], gateways: ["10.1.0.1"] }],
      },
    ],
  });
  onTestFinished(() => world.destroy());
  expect((await world.ping("left", "203.0.113.1", { timeoutSeconds: 0.3 })).received).toBe(0);
});
