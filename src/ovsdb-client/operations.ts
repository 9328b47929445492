// What a transaction does, and what came of it (RFC 7047, section 5.2): those operations that somebody here needs.
import { z } from "zod";
import { MalformedMessageError, OvsdbRefusedError } from "./errors.ts";
import { parsed, type Json } from "./message.ts";

/** Adds pairs to a map of strings in one row, and takes keys out of it before that, in one step. */
export type MapChange = {
  readonly table: string;
  readonly row: string;
  readonly column: string;
  readonly remove: readonly string[];
  readonly insert: ReadonlyMap<string, string>;
};

/**
 * `mutate` (RFC 7047, section 5.2.4). An insert leaves a key alone that is there (section 5.1, `<mutation>`), so one that
 * must have a new value is removed first.
 */
export const encodeMapChange = ({ table, row, column, remove, insert }: MapChange): Json => ({
  op: "mutate",
  table,
  where: [["_uuid", "==", ["uuid", row]]],
  mutations: [
    [column, "delete", ["set", remove]],
    [column, "insert", ["map", [...insert].map((pair) => [...pair])]],
  ],
});

const failure = z.object({ error: z.string(), details: z.string().optional() });
const results = z.array(z.union([z.null(), failure, z.record(z.string(), z.unknown())]));

export type OperationResult = Readonly<Record<string, unknown>>;

/**
 * One result an operation (RFC 7047, section 4.1.3). The first that failed is thrown: those behind it are null, and one
 * more at the end is that of the commit.
 */
export function decodeResults(answer: unknown, operations: number): readonly OperationResult[] {
  const all = parsed(results, answer, "the result of a transaction");
  for (const one of all) {
    const failed = failure.safeParse(one);
    if (failed.success) throw new OvsdbRefusedError("transact", failed.data.error, failed.data.details);
  }
  const done = all.filter((one) => one !== null);
  if (done.length < operations) throw new MalformedMessageError(`${done.length} results of ${operations} operations`);
  return done;
}

const counted = z.object({ count: z.int().nonnegative() });

/** How many rows an update, a mutation or a deletion met. */
export const countOf = (result: unknown): number => parsed(counted, result, "the result of an operation").count;
