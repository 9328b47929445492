// What a test does to the packet filter behind the agent's back.
import { GUARD_TABLES } from "../../src/core/guard.ts";

/** A shell's command that does it to these chains, or to the tables themselves, of both in one transaction. */
export const inBothTables = (action: string, ...chains: readonly string[]): string => {
  const commands = GUARD_TABLES.flatMap((table) =>
    chains.length === 0 ? [`${action} inet ${table}`] : chains.map((chain) => `${action} inet ${table} ${chain}`),
  );
  return `nft '${commands.join("; ")}'`;
};

/** How often the guard is replaced under traffic. With one CPU, as a guest has, no packet passes while the kernel commits. */
export const REPLACEMENTS = process.env["KERNEL_LAB"] === undefined ? 150 : 30;

export const BOTH_TABLES_DELETED = inBothTables("delete table");

/** A shell's command that takes away what holds things back where both tables are gone. */
export const STAND_INS_GONE =
  "for family in -4 -6; do ip $family rule flush protocol 216; done; ip xfrm policy flush 2>/dev/null || true";

/** Shell's commands, each of which takes a part of it away that the other table still has. */
export const PARTS_OF_GUARD_GONE: Readonly<Record<string, string>> = {
  "the packet filter is deleted": "nft delete table inet swanherd",
  "the packet filter is flushed": "nft flush table inet swanherd",
  "the spare packet filter is deleted": "nft delete table inet swanherd_spare",
  "the spare packet filter is flushed": "nft flush table inet swanherd_spare",
};
