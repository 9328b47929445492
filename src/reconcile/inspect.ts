// Looks at one router for a person: all four views of its connections, and what its network lacks. It changes nothing.
import { networkFindings } from "../core/drift.ts";
import type { Finding } from "../core/finding.ts";
import { adminDownWords } from "../core/connection-status.ts";
import type { CharonPlanOptions } from "../core/charon-step.ts";
import { AgentError } from "../core/errors.ts";
import {
  FINGERPRINT_PARTS,
  fingerprintsOf,
  peerOfSecretId,
  secretFingerprint,
  shortFingerprint,
  type Fingerprints,
  type Marker,
} from "../core/fingerprint.ts";
import type { ConnectionId, RouterId } from "../core/ids.ts";
import type { DesiredConnection, DesiredRouter } from "../core/model.ts";
import { planNetwork } from "../core/network-plan.ts";
import { belongsTo, carriesTraffic, emptyNotes, type Notes, type RunningCharon } from "../core/observed.ts";
import type { Member, Peer } from "../core/peers.ts";
import { planCharon } from "../core/plan.ts";
import type { Clock, Ike, Inspection, Network, WrittenFile } from "../core/ports.ts";
import { namespaceOf, waitingFor, wantedNetwork, type PlaceOptions } from "./places.ts";
import { compareViews, type ConnectionViews, type RouterViews, type Values } from "../core/views.ts";

export type InspectOptions = PlaceOptions & { readonly charonPlan: CharonPlanOptions };

/** Beside swanctl.conf's keys: the pre-shared key as a short fingerprint, and the commit record. */
const SECRET = "secret";
const COMMIT = "commit record";
const COMMITTED = "complete";
const NONE = "none";

/** `desired` as it was judged to be carried here. */
export async function inspectRouter(
  desired: DesiredRouter,
  notes: Notes | undefined,
  ports: { readonly network: Network; readonly ike: Ike; readonly clock: Clock },
  options: InspectOptions,
  inspection: Inspection,
  signal: AbortSignal,
): Promise<RouterViews> {
  const { id } = desired;
  const problems: string[] = [];
  const orProblem = async <T>(look: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      problems.push(error.message);
      return undefined;
    }
  };
  const network = (await orProblem(() => inspectNetwork(desired, ports, options, signal))) ?? [];
  const charon = await orProblem(() => ports.ike.observe(id, signal));
  if (typeof network === "string") problems.push(network);
  if (charon?.kind === "failing") problems.push(charon.why);
  const running = charon?.kind === "up" ? charon : undefined;
  const inspector = new CharonInspector(id, running, notes, inspection, options.charonPlan, ports.clock.nowMs());
  return {
    id,
    namespace: namespaceOf(options, id),
    ...(problems.length === 0 ? {} : { problem: problems.join("; ") }),
    network: typeof network === "string" ? [] : network,
    connections: inspector.inspect(desired.connections),
  };
}

/** Text: why it cannot be told. */
async function inspectNetwork(
  desired: DesiredRouter,
  { network }: { readonly network: Network },
  options: InspectOptions,
  signal: AbortSignal,
): Promise<readonly Finding[] | string> {
  const wanted = wantedNetwork(options, desired);
  if (wanted.kind !== "known") return wanted.why;
  const { config } = wanted;
  const observed = await network.observe(config, signal);
  if (config.topology === "router" && !observed.namespaceExists) return waitingFor(config);
  return networkFindings(planNetwork(config, observed));
}

class CharonInspector {
  readonly #charon: RunningCharon | undefined;
  readonly #inspection: Inspection;
  readonly #files: ReadonlyMap<ConnectionId, WrittenFile | undefined>;
  readonly #notes: Notes;
  readonly #plan: CharonPlanOptions;
  readonly #nowMs: number;

  constructor(
    router: RouterId,
    charon: RunningCharon | undefined,
    notes: Notes | undefined,
    inspection: Inspection,
    plan: CharonPlanOptions,
    nowMs: number,
  ) {
    this.#charon = charon;
    this.#inspection = inspection;
    this.#files = inspection.readFiles(router);
    this.#notes = notes ?? emptyNotes(charon?.instance ?? "");
    this.#plan = plan;
    this.#nowMs = nowMs;
  }

  inspect(connections: readonly DesiredConnection[]): readonly ConnectionViews[] {
    const { grouping } = planCharon(connections, this.#charon ?? NO_CHARON, this.#notes, this.#nowMs, this.#plan);
    return connections.map((connection) => {
      const { id, name } = connection;
      const peer = grouping.peers.find(({ members }) => members.some(({ tunnel }) => tunnel.id === id));
      const member = peer?.members.find(({ tunnel }) => tunnel.id === id);
      if (peer === undefined || member === undefined) {
        const refusal = this.#notes.refusals.get(id)?.failure.text;
        const unwanted =
          unwantedWords(connection) ?? grouping.conflicts.get(id)?.reason.text ?? refusal ?? "not loaded";
        return { id, name, unwanted, missing: [], rows: this.#leftovers(id) };
      }
      const views = compareViews(
        this.#desired(peer, member),
        {
          written: this.#written(peer, member),
          loaded: this.#loaded(peer, member),
          negotiated: this.#negotiated(peer, member),
        },
        this.#inspection.judges,
      );
      return { id, name, ...views };
    });
  }

  #desired(peer: Peer, member: Member): Values {
    const secret = shortFingerprint(secretFingerprint(this.#plan.key, peer.leader));
    return new Map([...this.#inspection.desired(peer, member), [SECRET, secret], [COMMIT, COMMITTED]]);
  }

  #loaded(peer: Peer, member: Member): Values | undefined {
    const told = this.#charon?.loaded.get(peer.name);
    if (told === undefined) return undefined;
    const isOthers = (key: string): boolean =>
      key.startsWith("children.") && !belongsTo(key.split(".")[1] ?? "", member.tunnel.id);
    const values = new Map([...told].filter(([key]) => !isOthers(key)));
    const ids = [...(this.#charon?.secretIds ?? [])].filter((id) => peerOfSecretId(id) === peer.name);
    const secrets = ids.map((id) => id.slice(id.lastIndexOf("-") + 1));
    return this.#withProofs(values, secrets, this.#charon?.markers.get(member.tunnel.id), peer, member);
  }

  /** A file that nobody can read as ours has none of the values. */
  #written(peer: Peer, member: Member): Values | undefined {
    const { id } = member.tunnel;
    if (!this.#files.has(id)) return undefined;
    const file = this.#files.get(id);
    return this.#withProofs(new Map(file?.values), file?.secrets ?? [], file?.marker, peer, member);
  }

  #withProofs(
    values: Map<string, string>,
    secrets: readonly string[],
    marker: Marker | undefined,
    peer: Peer,
    member: Member,
  ): Values {
    values.set(SECRET, secrets.map(shortFingerprint).sort().join(", ") || NONE);
    const wanted = fingerprintsOf(this.#plan.key, peer, member);
    return values.set(COMMIT, marker === undefined ? NONE : commitWords(marker.fingerprints, wanted));
  }

  /** Of the newest SA of each child, and of the IKE SA that has it. */
  #negotiated(peer: Peer, member: Member): Values | undefined {
    const values = new Map<string, string>();
    for (const sa of this.#charon?.ikeSas ?? []) {
      if (sa.peer !== peer.name || sa.state !== "established") continue;
      for (const child of sa.children) {
        if (!belongsTo(child.name, member.tunnel.id) || !carriesTraffic(child)) continue;
        for (const [key, value] of sa.values) values.set(key, value);
        for (const [key, value] of child.values) values.set(`children.${child.name}.${key}`, value);
      }
    }
    return values.size === 0 ? undefined : values;
  }

  /** What is there of a connection that is not to be there. */
  #leftovers(id: ConnectionId): ConnectionViews["rows"] {
    const judged = (value: string) => ({ value, verdict: "differs" as const });
    const charon = this.#charon;
    const names = [...(charon?.peers.values() ?? [])].flatMap((children) => [...children]);
    const sas = charon?.ikeSas.flatMap((sa) => sa.children).filter(carriesTraffic) ?? [];
    const isLoaded = names.some((name) => belongsTo(name, id));
    const isUp = sas.some((sa) => belongsTo(sa.name, id));
    if (!this.#files.has(id) && !isLoaded && !isUp) return [];
    return [
      {
        key: "connection",
        ...(this.#files.has(id) ? { written: judged("still there") } : {}),
        ...(isLoaded ? { loaded: judged("still there") } : {}),
        ...(isUp ? { negotiated: judged("still there") } : {}),
      },
    ];
  }
}

function commitWords(held: Fingerprints, wanted: Fingerprints): string {
  const changed = FINGERPRINT_PARTS.filter((part) => held[part] !== wanted[part]);
  return changed.length === 0 ? COMMITTED : `of another ${changed.join(", ")}`;
}

function unwantedWords(connection: DesiredConnection): string | undefined {
  switch (connection.kind) {
    case "usable":
      return undefined;
    case "disabled":
      return adminDownWords(connection);
    case "unusable":
      return connection.reason.text;
  }
}

const NO_CHARON: RunningCharon = {
  kind: "up",
  instance: "",
  startedAtMs: 0,
  algorithms: { encryption: new Set(), authentication: new Set(), prf: new Set(), dhGroups: new Set() },
  peers: new Map(),
  loaded: new Map(),
  secretIds: new Set(),
  markers: new Map(),
  ikeSas: [],
  files: new Map(),
};
