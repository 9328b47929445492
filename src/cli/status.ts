// `swanherd status`: every router and connection as a table, or one of them in full.
import type { ApiClient } from "../io/api/client.ts";
import { reportFailure, reportNotThere } from "./failure.ts";
import { decodeState, selected, shortener, type ShownConnection, type ShownRouter, type ShownState } from "./state.ts";
import { tableLines } from "./table.ts";
import { EXIT, paletteOf, statusPaint, type Palette, type Terminal } from "./terminal.ts";
import { bytesWords, countWords, durationWords, printable } from "./words.ts";

export type StatusOptions = { readonly id?: string | undefined; readonly json: boolean; readonly watch: boolean };

const WATCH_INTERVAL_MS = 1000;
const CURSOR_HOME_AND_CLEAR = "\x1b[H\x1b[J";
const NONE = "-";

export async function runStatus(
  client: ApiClient,
  options: StatusOptions,
  terminal: Terminal,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<number> {
  for (;;) {
    if (options.watch && terminal.isInteractive && !options.json) terminal.out(CURSOR_HOME_AND_CLEAR);
    const code = await showOnce(client, options, terminal, nowMs);
    if (!options.watch) return code;
    if (await wasStopped(signal)) return EXIT.ok;
  }
}

async function showOnce(
  client: ApiClient,
  options: StatusOptions,
  terminal: Terminal,
  nowMs: () => number,
): Promise<number> {
  let answer: unknown;
  try {
    answer = await client.status();
  } catch (err) {
    return reportFailure(err, terminal);
  }
  const decoded = decodeState(answer);
  if (decoded.kind === "unusable") {
    terminal.err(`${decoded.why}\n`);
    return EXIT.failure;
  }
  const { state } = decoded;
  const routers = options.id === undefined ? state.routers : selected(state, options.id);
  if (options.id !== undefined && routers.length === 0) {
    return reportNotThere(options.id, terminal);
  }
  if (options.json)
    terminal.out(`${JSON.stringify(options.id === undefined ? decoded.json : { ...decoded.json, routers })}\n`);
  else terminal.out(`${describe({ ...state, routers }, options, terminal, nowMs()).join("\n")}\n`);
  return EXIT.ok;
}

function describe(state: ShownState, { id }: StatusOptions, terminal: Terminal, nowMs: number): readonly string[] {
  const palette = paletteOf(terminal);
  const [router, ...others] = state.routers;
  const [connection, ...moreConnections] = router?.connections ?? [];
  const isOne =
    id !== undefined && router !== undefined && others.length === 0 && !router.id.startsWith(id.toLowerCase());
  if (isOne && connection !== undefined && moreConnections.length === 0) {
    return connectionLines(router, connection, palette, nowMs);
  }
  const remarks = [
    ...(state.standingBy === undefined ? [] : [palette.red(`standing by: ${printable(state.standingBy)}`)]),
    ...(state.ovn?.why === undefined ? [] : [palette.red(`OVN: ${printable(state.ovn.why)}`)]),
    ...state.routers.flatMap((one) =>
      one.ports.flatMap(({ why }) => (why === undefined ? [] : [palette.red(`ports of ${one.id}: ${printable(why)}`)])),
    ),
    ...state.problems.map((problem) => palette.red(`problem: ${printable(problem)}`)),
    ...state.notes.map((note) => palette.dim(`note: ${printable(note)}`)),
  ];
  return [headline(state, nowMs), ...remarks, "", ...overview(state, palette, terminal, nowMs), "", summary(state)];
}

function headline(state: ShownState, nowMs: number): string {
  const ago = (ms: number): string => `${durationWords(nowMs - ms)} ago`;
  const parts = [
    state.startedAtMs === undefined ? undefined : `started ${ago(state.startedAtMs)}`,
    state.espBackEnd === undefined ? undefined : `ESP by ${state.espBackEnd}`,
    state.brokerConnected === undefined ? undefined : `broker ${state.brokerConnected ? "connected" : "NOT CONNECTED"}`,
    ovnWords(state),
    desiredWords(state, ago),
  ].filter((part) => part !== undefined);
  return `${printable(state.host ?? "controller")}: ${parts.join(", ")}`;
}

function ovnWords({ ovn }: ShownState): string | undefined {
  if (ovn === undefined) return undefined;
  const chassis = ovn.chassis === undefined ? "" : ` as ${printable(ovn.chassis)}`;
  return ovn.registered ? `announced in OVN${chassis}` : "NOT ANNOUNCED IN OVN";
}

function desiredWords(state: ShownState, ago: (ms: number) => string): string | undefined {
  switch (state.desired) {
    case "fetched":
      return `list fetched${state.lastFetchAtMs === undefined ? "" : ` ${ago(state.lastFetchAtMs)}`}`;
    case "remembered":
      return "list REMEMBERED from an earlier run: repairing only, removing nothing";
    case "unknown":
      return "list UNKNOWN: waiting for the control plane, removing nothing";
    case undefined:
      return undefined;
  }
}

function overview(state: ShownState, palette: Palette, terminal: Terminal, nowMs: number): readonly string[] {
  const ids = state.routers.flatMap((router) => [router.id, ...router.connections.map(({ id }) => id)]);
  // Whole ids for programs, short ones for eyes.
  const shown = terminal.isInteractive ? shortener(ids) : (id: string) => id;
  const rows = state.routers.flatMap((router) => {
    const first = { text: shown(router.id) };
    if (router.connections.length === 0) {
      const why = router.lastFailure ?? `charon ${(router.charon ?? "unknown").replace("-", " ")}`;
      return [[first, ...[NONE, NONE, NONE, NONE].map((text) => ({ text, paint: palette.dim })), { text: why }]];
    }
    return router.connections.map((connection) => [
      first,
      { text: shown(connection.id) },
      { text: connection.name ?? NONE },
      { text: connection.status, paint: statusPaint(palette, connection.status) },
      { text: sinceWords(connection, nowMs) },
      { text: reasonWords(connection) },
    ]);
  });
  return tableLines(["ROUTER", "CONNECTION", "NAME", "STATUS", "SINCE", "REASON"], rows, terminal.columns);
}

const sinceWords = ({ reason }: ShownConnection, nowMs: number): string =>
  typeof reason?.sinceMs === "number" ? durationWords(nowMs - reason.sinceMs) : NONE;

function reasonWords({ reason, inSync }: ShownConnection): string {
  const parts = [
    reason === undefined ? undefined : `${reason.code}: ${reason.text}`,
    inSync === false ? "not in sync yet" : undefined,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? NONE : parts.join("; ");
}

function summary({ routers }: ShownState): string {
  const counts = new Map<string, number>();
  for (const { status } of routers.flatMap(({ connections }) => connections)) {
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  const parts = [...counts]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([status, count]) => `${count} ${printable(status)}`);
  return `${countWords(routers.length, "router")}, ${countWords(total, "connection")}${parts.length === 0 ? "" : `: ${parts.join(", ")}`}`;
}

function connectionLines(
  router: ShownRouter,
  connection: ShownConnection,
  palette: Palette,
  nowMs: number,
): readonly string[] {
  const { reason } = connection;
  const facts: readonly (readonly [string, string | undefined])[] = [
    ["connection", `${connection.id}${connection.name === undefined ? "" : ` (${connection.name})`}`],
    ["service", connection.service],
    ["router", router.id],
    ["namespace", router.namespace],
    ["charon", router.charon],
    ["ports", router.ports.length === 0 ? undefined : router.ports.map(({ state, why }) => why ?? state).join(", ")],
    ["status", connection.status],
    ["reason", reason === undefined ? undefined : `${reason.code}: ${reason.text}`],
    ["since", reason === undefined ? undefined : `${sinceWords(connection, nowMs)} ago`],
    ["in sync", connection.inSync === undefined ? undefined : connection.inSync ? "yes" : "no"],
    ["local", connection.localAddress],
    ["peer", connection.peerAddress],
    ["IKE", connection.ikeVersion === undefined ? undefined : `version ${connection.ikeVersion}`],
    ["IKE SPIs", connection.ikeSpis],
    ["last pass", router.lastPassAtMs === undefined ? undefined : `${durationWords(nowMs - router.lastPassAtMs)} ago`],
    ["last failure", router.lastFailure],
  ];
  const lines = facts
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const text = printable(value ?? "");
      return `${name.padEnd(14)}${name === "status" ? statusPaint(palette, text)(text) : text}`;
    });
  const children = (connection.children ?? []).flatMap((child) => [
    `child         ${printable(child.name)}: ${child.installed ? "installed" : "NOT INSTALLED"}`,
    `              ${child.localSubnets.map(printable).join(" ")} <-> ${child.peerSubnets.map(printable).join(" ")}`,
    `              in ${bytesWords(child.bytesIn)} (${countWords(child.packetsIn, "packet")}), out ${bytesWords(child.bytesOut)} (${countWords(child.packetsOut, "packet")})`,
  ]);
  return [...lines, ...children];
}

/** Waits one interval; true when the user had enough. */
function wasStopped(signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(true);
      return;
    }
    const stopped = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stopped);
      resolve(false);
    }, WATCH_INTERVAL_MS);
    signal.addEventListener("abort", stopped, { once: true });
  });
}
