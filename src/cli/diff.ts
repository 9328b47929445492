// `swanherd diff`: desired against written, loaded and negotiated, and what the network lacks.
import {
  hasDifference,
  VIEWS,
  type ConnectionViews,
  type RouterViews,
  type View,
  type ViewRow,
} from "../core/views.ts";
import type { ApiClient } from "../io/api/client.ts";
import { reportFailure, reportNotThere } from "./failure.ts";
import { decodeState, selected } from "./state.ts";
import { tableLines, type Cell } from "./table.ts";
import { EXIT, paletteOf, type Palette, type Terminal } from "./terminal.ts";
import { countWords, printable } from "./words.ts";

export type DiffOptions = {
  /** Id or beginning of it, of a router or a connection, or a connection's name. */
  readonly id?: string | undefined;
  /** Also what is the same. */
  readonly all: boolean;
  readonly json: boolean;
};

const NONE = "-";
/** Names of children begin with the connection's id, which stands above them. */
const UUID_TAIL = /^(children\.[0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
const SPOKEN_VERSION = 1;

/** 0: nothing differs; 1: something does, or it could not be found out. */
export async function runDiff(client: ApiClient, options: DiffOptions, terminal: Terminal): Promise<number> {
  let routers: readonly RouterViews[];
  try {
    const asked = await askedRouters(client, options, terminal);
    if (asked === undefined) return EXIT.failure;
    routers = asked;
  } catch (err) {
    return reportFailure(err, terminal);
  }
  if (options.json) terminal.out(`${JSON.stringify({ version: SPOKEN_VERSION, routers })}\n`);
  else terminal.out(`${describe(routers, options.all, terminal).join("\n")}\n`);
  return routers.some(differs) ? EXIT.failure : EXIT.ok;
}

async function askedRouters(
  client: ApiClient,
  { id }: DiffOptions,
  terminal: Terminal,
): Promise<readonly RouterViews[] | undefined> {
  if (id === undefined) return viewsOf(await client.diff(), terminal);
  const decoded = decodeState(await client.status());
  if (decoded.kind === "unusable") {
    terminal.err(`${decoded.why}\n`);
    return undefined;
  }
  const meant = selected(decoded.state, id);
  if (meant.length === 0) {
    reportNotThere(id, terminal);
    return undefined;
  }
  const found: RouterViews[] = [];
  for (const router of meant) {
    const wanted = new Set(router.connections.map((connection) => connection.id));
    const views = viewsOf(await client.diff(router.id), terminal);
    if (views === undefined) return undefined;
    found.push(
      ...views.map((one) => ({
        ...one,
        connections: one.connections.filter((connection) => wanted.has(connection.id)),
      })),
    );
  }
  return found;
}

/** An agent of another version is told apart by its number; within a version the shape is ours. */
function viewsOf(answer: unknown, terminal: Terminal): readonly RouterViews[] | undefined {
  const { version, routers } = answer as { readonly version?: unknown; readonly routers?: unknown };
  if (version === SPOKEN_VERSION && Array.isArray(routers)) return routers as readonly RouterViews[];
  terminal.err("the answer is of another version; use the swanherd that the agent runs\n");
  return undefined;
}

const differs = (router: RouterViews): boolean =>
  router.problem !== undefined || router.network.length > 0 || router.connections.some(hasDifference);

function describe(routers: readonly RouterViews[], all: boolean, terminal: Terminal): readonly string[] {
  const palette = paletteOf(terminal);
  const lines = routers.flatMap((router) => routerLines(router, all, palette, terminal.columns));
  const differing = routers.flatMap(({ connections }) => connections).filter(hasDifference).length;
  const objects = routers.reduce((sum, { network }) => sum + network.length, 0);
  const summary =
    differing + objects === 0 && !routers.some(({ problem }) => problem !== undefined)
      ? palette.green(`no difference in ${countWords(routers.length, "router")}`)
      : palette.red(
          `${countWords(differing, "connection")} and ${countWords(objects, "object")} of the network differ`,
        );
  return [...lines, summary];
}

function routerLines(
  { id, namespace, problem, network, connections }: RouterViews,
  all: boolean,
  palette: Palette,
  columns: number | undefined,
): readonly string[] {
  const shown = connections.flatMap((connection) => connectionLines(connection, all, palette, columns));
  const lines = [
    ...(problem === undefined ? [] : [palette.red(`  problem: ${printable(problem)}`)]),
    ...network.map(({ what }) => palette.red(`  ${printable(what)}`)),
    ...shown,
  ];
  return lines.length === 0 && !all ? [] : [`router ${id} (${namespace})`, ...lines, ""];
}

function connectionLines(
  connection: ConnectionViews,
  all: boolean,
  palette: Palette,
  columns: number | undefined,
): readonly string[] {
  const { id, name, unwanted, missing } = connection;
  const rows = connection.rows.filter((row) => all || VIEWS.some((view) => isTold(row, view)));
  const remarks = [
    ...(unwanted === undefined ? [] : [`nothing of it is to be there: ${printable(unwanted)}`]),
    ...missing.map((view) => MISSING[view]),
  ];
  if (rows.length === 0 && !hasDifference(connection) && !all) return [];
  const header = ["", "DESIRED", ...VIEWS.map((view) => view.toUpperCase())];
  const table = rows.map((row): readonly Cell[] => [
    { text: row.key.replace(UUID_TAIL, "$1") },
    { text: row.desired ?? NONE },
    ...VIEWS.map((view) => viewCell(row, view, palette)),
  ]);
  return [
    `  connection ${id}${name === "" ? "" : ` (${printable(name)})`}${remarks.length === 0 ? "" : `: ${remarks.join("; ")}`}`,
    ...(table.length === 0 ? [] : tableLines(header, table, columns).map((line) => `    ${line}`)),
  ];
}

const MISSING: Readonly<Record<View, string>> = {
  written: "no file",
  loaded: "not loaded",
  negotiated: "no SA",
};

const isTold = (row: ViewRow, view: View): boolean => row[view] !== undefined && row[view].verdict !== "same";

/** Marked by words too: colours are not for everybody. */
function viewCell(row: ViewRow, view: View, palette: Palette): Cell {
  const judged = row[view];
  if (judged === undefined) return { text: NONE, paint: palette.dim };
  switch (judged.verdict) {
    case "same":
      return { text: judged.value };
    case "differs":
      return { text: `${judged.value} !`, paint: palette.red };
    case "pending":
      return { text: `${judged.value} (until rekeyed)`, paint: palette.yellow };
    case "narrowed":
      return { text: `${judged.value} (narrowed by the peer)`, paint: palette.yellow };
  }
}
