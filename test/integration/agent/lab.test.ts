// The lab of tests and demo: taken away while it is still being built, it leaves nothing.
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { sidesOf } from "../../../scripts/lab-documents.ts";
import { LabBuilder } from "../../../scripts/lab.ts";

test("a lab that goes away while its parts are being made takes them along, and makes no more", async () => {
  const prefix = `t${randomBytes(3).toString("hex")}`;
  const routers = { left: randomUUID(), right: randomUUID(), hostPrefix: prefix };
  const lab = new LabBuilder({ prefix, sides: sidesOf(routers), documents: [] });
  const parts = Promise.allSettled([lab.startBroker(), lab.buildWorld()]);
  await lab.destroy();
  await parts;

  expect(lab.rabbitmq).toBeDefined();
  expect(existsSync(lab.rabbitmq?.directory ?? "/")).toBe(false);
  expect(existsSync(lab.directory)).toBe(false);
  const names = [...readdirSync("/run/netns"), ...readdirSync("/sys/class/net")];
  const ours = [prefix, routers.left, routers.right];
  expect(names.filter((name) => ours.some((mark) => name.includes(mark)))).toEqual([]);
  await expect(lab.startBroker()).rejects.toThrow("the lab is being taken away");
});
