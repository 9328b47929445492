// A netlink socket whose events come faster than they are taken, as in a burst while the event loop is busy.
import { execFileSync } from "node:child_process";
import { expect, onTestFinished, test } from "vitest";
import { NETLINK_ROUTE, openNetlink } from "../../../src/io/kernel/netlink.ts";
import { createNamespace, deleteNamespace } from "../../../src/io/kernel/netns.ts";
import { eventually } from "../../support/eventually.ts";

const LINK_GROUP = 1;
/** Each makes some 10 kB of messages; the socket's buffer has room for 208 kB. */
const LINKS = 150;

test("events beyond the socket's room are lost, and neither the process nor the socket is", async () => {
  const name = `t-${crypto.randomUUID()}`;
  createNamespace(name);
  onTestFinished(() => {
    deleteNamespace(name);
  });
  const socket = openNetlink(NETLINK_ROUTE, name);
  onTestFinished(() => {
    socket.close();
  });
  const errors: unknown[] = [];
  let messages = 0;
  socket.on("error", (error) => errors.push(error));
  socket.on("message", (received) => (messages += received.length));
  socket.addMembership(LINK_GROUP);

  // Waits for the end of it, as nothing else does here: meanwhile nothing is taken from the socket.
  const commands = `for i in $(seq ${String(LINKS)}); do ip link add v$i type veth peer name w$i; ip link del v$i; done`;
  execFileSync("ip", ["netns", "exec", name, "sh", "-c", commands]);
  await eventually(() => messages > 0, { what: "what the socket had room for" });
  expect(messages).toBeLessThan(4 * LINKS);

  const before = messages;
  execFileSync("ip", ["-n", name, "link", "add", "after", "type", "bridge"]);
  await eventually(() => messages > before, { what: "an event after the burst" });
  expect(errors).toEqual([]);
});
