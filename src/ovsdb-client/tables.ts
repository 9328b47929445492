// Tables as they are watched: the columns that were asked for, by kind, kept up from updates. Pure.
//
// The updates are those of `monitor_cond` (ovsdb-server(7), section 4.1.12 and 4.1.14): the RFC's own `monitor` has no
// conditions, and would send every change of every row of a table to everybody who looks at one of them. Rows come as
// initial, insert, modify or delete; columns with their default value are left out of the first two.
import { z } from "zod";
import { MalformedMessageError } from "./errors.ts";
import { parsed, type Json } from "./message.ts";

/** The kinds of columns that can be watched, and the value that OVSDB gives each by default (RFC 7047, section 5.2.1). */
type Kinds = {
  readonly string: string;
  readonly integer: number;
  readonly boolean: boolean;
  readonly stringMap: ReadonlyMap<string, string>;
  /** Of at most one. */
  readonly optionalString: string | undefined;
  readonly optionalInteger: number | undefined;
  readonly uuids: ReadonlySet<string>;
};
export type ColumnKind = keyof Kinds;
export type Columns = { readonly [column: string]: ColumnKind };

/** Column, function, value; all of them have to hold (RFC 7047, section 5.1, `<condition>`). */
export type Condition = readonly [column: string, relation: "==" | "!=", value: string | number | boolean];

export type TableSpec = { readonly columns: Columns; readonly where?: readonly Condition[] };
export type TableSpecs = { readonly [table: string]: TableSpec };

export type Row<C extends Columns> = { readonly [Name in keyof C]: Kinds[C[Name]] };

/** By table, then by the rows' UUIDs. */
export type Tables<S extends TableSpecs> = {
  readonly [Name in keyof S]: ReadonlyMap<string, Row<S[Name]["columns"]>>;
};

type AnyRow = Readonly<Record<string, Kinds[ColumnKind]>>;
type AnyTables = Readonly<Record<string, ReadonlyMap<string, AnyRow>>>;

const stringMap = z
  .tuple([z.literal("map"), z.array(z.tuple([z.string(), z.string()]))])
  .transform(([, pairs]) => new Map(pairs));
const integer = z.number().refine(Number.isInteger);
/** A set of one may come as its element (RFC 7047, section 5.1, `<set>`). */
const optional = <T>(one: z.ZodType<T>): z.ZodType<T | undefined> =>
  z.union([one, z.tuple([z.literal("set"), z.array(one).max(1)]).transform(([, [only]]) => only)]);
const uuid = z.tuple([z.literal("uuid"), z.string()]).transform(([, text]) => text);
const uuids = z.union([
  uuid.transform((one) => new Set([one])),
  z.tuple([z.literal("set"), z.array(uuid)]).transform(([, all]) => new Set(all)),
]);
const SCHEMAS: { readonly [Kind in ColumnKind]: z.ZodType<Kinds[Kind]> } = {
  string: z.string(),
  // 64 bits on the wire; above 2^53 the last digits are lost (RFC 7047, section 3.1).
  integer,
  boolean: z.boolean(),
  stringMap,
  optionalString: optional(z.string()),
  optionalInteger: optional(integer),
  uuids,
};
const DEFAULTS: Kinds = {
  string: "",
  integer: 0,
  boolean: false,
  stringMap: new Map(),
  optionalString: undefined,
  optionalInteger: undefined,
  uuids: new Set(),
};

const wireRow = z.record(z.string(), z.unknown());
const wireUpdates = z.record(
  z.string(),
  z.record(
    z.string(),
    z.union([
      z.object({ initial: wireRow }),
      z.object({ insert: wireRow }),
      z.object({ modify: wireRow }),
      z.object({ delete: z.null() }),
    ]),
  ),
);

export const emptyTables = <S extends TableSpecs>(specs: S): Tables<S> =>
  Object.fromEntries(Object.keys(specs).map((name) => [name, new Map()])) as unknown as Tables<S>;

/** The tables after a `<table-updates2>`; what it does not mention stays the same object. */
export function applyUpdates<S extends TableSpecs>(specs: S, tables: Tables<S>, updates: unknown): Tables<S> {
  const next: Record<string, ReadonlyMap<string, AnyRow>> = { ...(tables as unknown as AnyTables) };
  for (const [name, changes] of Object.entries(parsed(wireUpdates, updates, "an update"))) {
    const spec = ownOf(specs, name);
    if (spec === undefined) throw new MalformedMessageError(`an update of table ${name}, which is not watched`);
    const rows = new Map(next[name]);
    for (const [uuid, change] of Object.entries(changes)) {
      if ("delete" in change) rows.delete(uuid);
      else if ("initial" in change) rows.set(uuid, newRow(spec.columns, change.initial));
      else if ("insert" in change) rows.set(uuid, newRow(spec.columns, change.insert));
      else {
        const row = rows.get(uuid);
        if (row === undefined) throw new MalformedMessageError(`a change of a row of ${name} that was never told`);
        rows.set(uuid, changedRow(spec.columns, row, change.modify));
      }
    }
    next[name] = rows;
  }
  return next as unknown as Tables<S>;
}

/** Names come from outside, and every object has a `toString`. */
const ownOf = <T>(record: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;

const newRow = (columns: Columns, wire: Readonly<Record<string, unknown>>): AnyRow =>
  Object.fromEntries(
    Object.entries(columns).map(([name, kind]) => [
      name,
      Object.hasOwn(wire, name) ? decoded(name, kind, wire[name]) : DEFAULTS[kind],
    ]),
  );

function changedRow(columns: Columns, row: AnyRow, wire: Readonly<Record<string, unknown>>): AnyRow {
  const changes = Object.entries(wire).flatMap(([name, value]) => {
    const kind = ownOf(columns, name);
    if (kind === undefined) return [];
    const change = decoded(name, kind, value);
    const before = row[name];
    if (change instanceof Map && before instanceof Map) return [[name, changedMap(before, change)]];
    if (change instanceof Set && before instanceof Set) return [[name, changedSet(before, change)]];
    return [[name, change]];
  });
  return { ...row, ...(Object.fromEntries(changes) as AnyRow) };
}

const decoded = (name: string, kind: ColumnKind, value: unknown): Kinds[ColumnKind] =>
  parsed<Kinds[ColumnKind]>(SCHEMAS[kind], value, `column ${name}, a ${kind},`);

/** A map comes as its difference: a pair that is there already goes, any other replaces or joins what is there. */
function changedMap(before: ReadonlyMap<string, string>, change: ReadonlyMap<string, string>): Map<string, string> {
  const after = new Map(before);
  for (const [key, value] of change) {
    if (after.get(key) === value) after.delete(key);
    else after.set(key, value);
  }
  return after;
}

/** A set comes as what is in one of the two and not in both; one that holds at most one element comes as it is. */
const changedSet = (before: ReadonlySet<string>, change: ReadonlySet<string>): ReadonlySet<string> =>
  new Set([...[...before].filter((one) => !change.has(one)), ...[...change].filter((one) => !before.has(one))]);

/** `<monitor-cond-requests>`: every change of the columns, beginning with what is there. */
export const monitorRequests = (specs: TableSpecs): Json =>
  Object.fromEntries(
    Object.entries(specs).map(([name, { columns, where }]) => [
      name,
      [{ columns: Object.keys(columns), ...(where === undefined ? {} : { where: where.map((one) => [...one]) }) }],
    ]),
  );
