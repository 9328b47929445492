// What a control socket answered, as far as a command can use it: an agent's state, a controller's, or another version's.
// Lenient by intent: a field that is missing or odd is shown as missing.
import type { AgentState, ConnectionState, RouterState } from "../core/status.ts";

type Loose<T> = { readonly [Key in keyof T]?: T[Key] | undefined };

/** Ids are texts here: what is printed needs no proof. */
export type ShownConnection = Omit<Loose<ConnectionState>, "id" | "status"> & {
  readonly id: string;
  readonly status: string;
};
export type ShownRouter = Omit<Loose<RouterState>, "id" | "connections" | "ports"> & {
  readonly ports: readonly { readonly state: string; readonly why?: string }[];
  readonly id: string;
  readonly connections: readonly ShownConnection[];
};
export type ShownState = Omit<Loose<AgentState>, "routers" | "version"> & {
  readonly routers: readonly ShownRouter[];
  /** Of a controller's documents: where, and what. */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
  /** Who serves the bus in place of a controller that stands by. */
  readonly standingBy?: string;
};

const SPOKEN_VERSION = 1;

export type DecodedState =
  | { readonly kind: "state"; readonly json: Readonly<Record<string, unknown>>; readonly state: ShownState }
  | { readonly kind: "unusable"; readonly why: string };

export function decodeState(json: unknown): DecodedState {
  const state = recordOf(json);
  if (state === undefined || !Array.isArray(state["routers"])) {
    return { kind: "unusable", why: "the answer is not a state: is this a control socket of swanherd?" };
  }
  if (state["version"] !== SPOKEN_VERSION) {
    const theirs = typeof state["version"] === "number" ? String(state["version"]) : "unknown";
    return {
      kind: "unusable",
      why: `the state has version ${theirs}, this program reads ${SPOKEN_VERSION}; use the swanherd that the agent runs`,
    };
  }
  const routers = listOf(state["routers"]).map(decodeRouter);
  const placed = (key: string): readonly string[] =>
    listOf(state[key]).map(({ file, line, text }) => `${String(file)}:${String(line)}: ${textOf(text)}`);
  const { standingBy, ovn, ...rest } = state;
  return {
    kind: "state",
    json: state,
    state: {
      ...rest,
      routers,
      problems: placed("problems"),
      notes: placed("notes"),
      ...(typeof standingBy === "string" ? { standingBy } : {}),
      ...decodeOvn(ovn),
    },
  };
}

function decodeOvn(raw: unknown): Pick<ShownState, "ovn"> {
  const ovn = recordOf(raw);
  if (typeof ovn?.["registered"] !== "boolean") return {};
  const text = (key: "chassis" | "why") => (typeof ovn[key] === "string" ? { [key]: ovn[key] } : {});
  return { ovn: { registered: ovn["registered"], ...text("chassis"), ...text("why") } };
}

const decodeRouter = (raw: Readonly<Record<string, unknown>>): ShownRouter => ({
  ...raw,
  id: textOf(raw["id"]),
  connections: listOf(raw["connections"]).map(decodeConnection),
  ports: listOf(raw["ports"]).map(({ state, why }) => ({
    state: textOf(state),
    ...(typeof why === "string" ? { why } : {}),
  })),
});

function decodeConnection(raw: Readonly<Record<string, unknown>>): ShownConnection {
  const { reason, children, ...rest } = raw;
  const cause = recordOf(reason);
  const isCause = typeof cause?.["code"] === "string" && typeof cause["text"] === "string";
  return {
    ...rest,
    id: textOf(raw["id"]),
    name: typeof raw["name"] === "string" ? raw["name"] : undefined,
    status: textOf(raw["status"]),
    ...(isCause ? { reason: cause as unknown as NonNullable<ConnectionState["reason"]> } : {}),
    children: listOf(children).filter(isChild) as unknown as ConnectionState["children"],
  };
}

const isChild = (raw: Readonly<Record<string, unknown>>): boolean =>
  Array.isArray(raw["localSubnets"]) && Array.isArray(raw["peerSubnets"]);

const recordOf = (value: unknown): Readonly<Record<string, unknown>> | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;

const listOf = (value: unknown): readonly Readonly<Record<string, unknown>>[] =>
  Array.isArray(value) ? value.map(recordOf).filter((item) => item !== undefined) : [];

const textOf = (value: unknown): string => (typeof value === "string" ? value : "?");

/** Beginnings of ids as short as they can be while telling all apart, but never shorter than eight letters. */
export function shortener(ids: readonly string[]): (id: string) => string {
  const distinct = [...new Set(ids)];
  let length = 8;
  while (length < 36 && new Set(distinct.map((id) => id.slice(0, length))).size < distinct.length) length += 1;
  return (id) => id.slice(0, length);
}

/** The part of a state that an id, its beginning or a connection's name speaks of. */
export function selected(state: ShownState, wanted: string): readonly ShownRouter[] {
  const isMeant = (id: string): boolean => id.startsWith(wanted.toLowerCase());
  return state.routers.flatMap((router) => {
    if (isMeant(router.id)) return [router];
    const connections = router.connections.filter(({ id, name }) => isMeant(id) || name === wanted);
    return connections.length === 0 ? [] : [{ ...router, connections }];
  });
}
