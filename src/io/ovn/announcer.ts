// Lets the control plane know that this agent is alive: who we are stands in the local Open vSwitch database, and that we
// are here in the southbound one, for as long as the agent runs. Stopping takes nothing back: an agent that is not there
// any more falls silent, and one that is started again was never away.
import type { Logger } from "pino";
import type { Clock } from "../../core/ports.ts";
import type { OvnState } from "../../core/status.ts";
import { parseEndpoints, type Endpoint } from "../../ovsdb-client/endpoint.ts";
import { agentIdOf } from "../../wire/ovn/agent-id.ts";
import { decodeLocal, LOCAL_DATABASE, LOCAL_TABLES, type LocalIdentity } from "../../wire/ovn/local.ts";
import { decodeSouthbound, SOUTHBOUND_DATABASE, southboundTables } from "../../wire/ovn/southbound.ts";
import { follow, type Follower } from "./follow.ts";
import { readIdentity } from "./identity.ts";
import { keepRow, type RowVerdict } from "./keep-row.ts";

export type AnnouncerOptions = {
  /** As ovsdb(7) writes them. */
  readonly localDatabase: string;
  /** `auto`: where the local database says that it is. */
  readonly southbound: string;
  readonly privateKey: string;
  readonly certificate: string;
  readonly caCertificate: string;
  /** Under which the control plane should know us. */
  readonly host: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly probeIntervalMs?: number;
  readonly onState: (state: OvnState) => void;
  readonly onWrite: (result: "ok" | "failed") => void;
};

export type Announcer = {
  start(): void;
  readonly state: OvnState;
  close(): Promise<void>;
};

/** A change of it is a change of state to whoever reads the log; its text may change more often. */
type Missing = "start" | "localDatabase" | "identity" | "southbound" | Extract<RowVerdict, { kind: "waiting" }>["on"];

type Target = {
  readonly chassis: string;
  readonly southbound: string;
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
};

export function createAnnouncer(options: AnnouncerOptions): Announcer {
  const { clock, log } = options;
  const shared = { clock, identity: () => readIdentity(options), probeIntervalMs: options.probeIntervalMs };
  let state: OvnState = { registered: false, why: "the local Open vSwitch database was not asked yet" };
  let missing: Missing | undefined = "start";
  let target: Target | undefined;
  let local: Follower | undefined;
  let southbound: Follower | undefined;
  let hostTold: string | undefined;
  let isLocalDown = false;
  let isClosed = false;
  /** Followers of targets that are no more. */
  const ending = new Set<Promise<void>>();

  function set(next: OvnState, nextMissing: Missing | undefined): void {
    if (isClosed) return;
    const isNews = missing !== nextMissing;
    state = next;
    missing = nextMissing;
    if (!isNews) return;
    const { chassis, southbound: server, why } = next;
    if (next.registered) log.info({ chassis, southbound: server }, "announced in OVN's southbound database");
    else log.warn({ chassis, why }, "not announced in OVN's southbound database, nothing is scheduled to this agent");
    options.onState(next);
  }

  const wait = (on: Missing, why: string): void =>
    set({ registered: false, ...(target === undefined ? {} : { chassis: target.chassis }), why }, on);

  function useTarget(next: Target | undefined): void {
    if (next?.chassis === target?.chassis && next?.southbound === target?.southbound) return;
    const before = southbound?.close();
    if (before !== undefined) {
      ending.add(before);
      void before.finally(() => ending.delete(before));
    }
    target = next;
    if (state.registered) wait("southbound", "the local database names another chassis or southbound database");
    southbound = next === undefined || isClosed ? undefined : followSouthbound(next);
  }

  function takeLocal(found: LocalIdentity): void {
    if (isLocalDown) log.info({ localDatabase: options.localDatabase }, "the local Open vSwitch database is back");
    isLocalDown = false;
    const judged = judge(found, options);
    useTarget(typeof judged === "string" ? undefined : judged);
    if (typeof judged === "string") wait("identity", judged);
  }

  function followSouthbound(current: Target): Follower {
    const { chassis } = current;
    const isCurrent = (): boolean => target === current;
    return follow({
      ...shared,
      endpoints: current.endpoints,
      database: SOUTHBOUND_DATABASE,
      tables: southboundTables(chassis),
      view(session, server) {
        const keeper = keepRow({
          session,
          chassis,
          agentId: agentIdOf(chassis),
          clock,
          onWrite: options.onWrite,
          onVerdict(verdict) {
            if (!isCurrent()) return;
            if (verdict.kind === "registered") set({ registered: true, chassis, southbound: server }, undefined);
            else wait(verdict.on, verdict.why);
          },
        });
        return {
          onTables(tables) {
            const seen = decodeSouthbound(tables);
            compareHost(seen.hostname);
            keeper.look(seen);
          },
          onEnd: () => keeper.stop(),
        };
      },
      onDown(why) {
        if (isCurrent()) wait("southbound", why);
      },
    });
  }

  /** Neutron addresses the agent of a chassis by the chassis' host name (neutron_agent.py, `as_dict`). */
  function compareHost(hostname: string | undefined): void {
    if (hostname === undefined || hostname === hostTold) return;
    hostTold = hostname;
    if (hostname === options.host) return;
    const { host } = options;
    log.warn({ host, chassisHost: hostname }, "the chassis has another host name than this agent, set `host` to it");
  }

  return {
    start() {
      const parsed = parseEndpoints(options.localDatabase);
      if (parsed.kind === "invalid") throw new TypeError(parsed.problem); // the configuration has let it through
      local ??= follow({
        ...shared,
        endpoints: parsed.endpoints,
        database: LOCAL_DATABASE,
        tables: LOCAL_TABLES,
        view: () => ({ onTables: (tables) => takeLocal(decodeLocal(tables)), onEnd: () => undefined }),
        onDown(why) {
          // What it said stays true: a restart of Open vSwitch does not make us dead.
          if (target === undefined) wait("localDatabase", why);
          else if (!isLocalDown) log.warn({ why }, "the local Open vSwitch database is lost, what it said is kept");
          isLocalDown = target !== undefined;
        },
      });
    },
    get state() {
      return state;
    },
    async close() {
      isClosed = true;
      await Promise.all([local?.close(), southbound?.close(), ...ending]);
    },
  };
}

/** Where to go, or what is missing for it. */
function judge(found: LocalIdentity, { localDatabase, southbound: configured }: AnnouncerOptions): Target | string {
  const { chassis } = found;
  if (chassis === undefined) {
    return `${localDatabase} has no external_ids:system-id in Open_vSwitch, which is the chassis' name`;
  }
  const southbound = configured === "auto" ? found.southbound : configured;
  if (southbound === undefined) {
    return `${localDatabase} has no external_ids:ovn-remote in Open_vSwitch: set it there, or ovn.southbound here`;
  }
  const parsed = parseEndpoints(southbound);
  return parsed.kind === "invalid"
    ? `the southbound database cannot be found: ${parsed.problem}`
    : { chassis, southbound, endpoints: parsed.endpoints };
}
