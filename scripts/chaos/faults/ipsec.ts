// Faults of the kernel's IPsec states and policies, where ESP is its own.
import { execa } from "execa";
import { objectsOf } from "../check/ipsec.ts";
import { inRouter } from "./network.ts";

const xfrm = async (namespace: string, ...args: readonly string[]): Promise<string> =>
  (await execa("ip", ["-n", namespace, "xfrm", ...args])).stdout;

export const stateDelete = inRouter(async (_, { random }, { charonNamespace: namespace }) => {
  const all = objectsOf(await xfrm(namespace, "state", "list", "nokeys")).flatMap((object) => {
    const [, from, to, protocol, spi] = /^src (\S+) dst (\S+)\s+proto (\S+) spi (0x\w+)/.exec(object) ?? [];
    return from === undefined || to === undefined || protocol === undefined || spi === undefined
      ? []
      : [{ from, to, protocol, spi }];
  });
  const { from, to, protocol, spi } = random.pick(all);
  await xfrm(namespace, "state", "delete", "src", from, "dst", to, "proto", protocol, "spi", spi);
  return `state with SPI ${spi} deleted`;
});

/** One of charon's is deleted. The agent's have a mark that `ip` cannot delete by: they are made to let through instead. */
export const policyDelete = inRouter(async (_, { random }, { charonNamespace: namespace }) => {
  const all = objectsOf(await xfrm(namespace, "policy", "list", "nosock")).flatMap((object) => {
    const [, from, to, direction] = /^src (\S+) dst (\S+)\s+dir (\S+)/.exec(object) ?? [];
    if (from === undefined || to === undefined || direction === undefined) return [];
    return [{ selector: ["src", from, "dst", to, "dir", direction], isAgents: object.includes("action block") }];
  });
  const { selector, isAgents } = random.pick(all);
  const mark = ["priority", "2147483647", "mark", "0", "mask", "0x80000000"];
  if (isAgents) await xfrm(namespace, "policy", "update", ...selector, "action", "allow", ...mark);
  else await xfrm(namespace, "policy", "delete", ...selector);
  return `policy ${selector.join(" ")} ${isAgents ? "lets through" : "deleted"}`;
});

export const flush = inRouter(async (_, { random }, { charonNamespace: namespace }) => {
  const what = random.pick([["policy"], ["state"], ["policy", "state"]]);
  for (const one of what) await xfrm(namespace, one, "flush");
  return `every ${what.join(" and ")} of IPsec`;
});
