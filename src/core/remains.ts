// With ESP in the kernel: what a charon that was killed has left there. It goes on carrying what it was negotiated for, whatever
// is wanted meanwhile, until its lifetime is over, and nobody else would take it away.
import { cidrOfSelector } from "./address.ts";
import { policiesOf, policyKey, type IpsecEntry, type KernelPlane } from "./data-plane.ts";
import type { Tunnel } from "./model.ts";
import { carriesTraffic, type ChildSa, type RunningCharon } from "./observed.ts";
import { mayInitiate } from "./plan-peer.ts";
import { readAddress } from "./read-address.ts";

/** For how long what is left carries a tunnel that the next charon has not brought up yet. */
const TAKEOVER_MS = 10_000;

/** The charon that is there now; `metAtMs`: since when it is told what is wanted. */
export type Successor = Pick<RunningCharon, "ikeSas" | "startedAtMs"> & { readonly metAtMs: number };

export type Remains = {
  readonly entries: readonly IpsecEntry[];
  /** When more of them have had their time. */
  readonly wakeAtMs: number | undefined;
};

/**
 * What is older than the running charon and not its own, as far as no wanted tunnel is in need of it; `charon` is undefined
 * where none runs. `tunnels` are those that are wanted.
 */
export function remainsOf(
  { entries }: KernelPlane,
  charon: Successor | undefined,
  tunnels: readonly Tunnel[],
  nowMs: number,
): Remains {
  const children = (charon?.ikeSas ?? []).flatMap((sa) => sa.children);
  const left = leftBehind(entries, charon, children, tunnels);
  if (left.length === 0) return { entries: [], wakeAtMs: undefined };
  const untilMs = charon === undefined ? undefined : Math.max(charon.startedAtMs, charon.metAtMs) + TAKEOVER_MS;
  if (untilMs !== undefined && untilMs <= nowMs) return { entries: left, wakeAtMs: undefined };

  const carried = new Set(children.filter(carriesTraffic).flatMap(policiesOf));
  const down = tunnels.filter((tunnel) => !policiesOf(tunnel).every((policy) => carried.has(policy)));
  const policies = new Set(down.flatMap(policiesOf));
  const peers = down.map(({ peerAddress }) => readAddress(peerAddress));
  // A state says between which gateways it is, and no more; a peer that is known by name may be any.
  const isNeeded = (entry: IpsecEntry): boolean =>
    entry.kind === "policy"
      ? policies.has(keyOf(entry))
      : peers.some((peer) => peer === undefined || peer === entry.source || peer === entry.destination);
  const over = left.filter((entry) => !isNeeded(entry));
  return { entries: over, wakeAtMs: over.length === left.length ? undefined : untilMs };
}

function leftBehind(
  entries: readonly IpsecEntry[],
  charon: Successor | undefined,
  children: readonly ChildSa[],
  tunnels: readonly Tunnel[],
): readonly IpsecEntry[] {
  const spis = new Set(children.flatMap(({ spiIn, spiOut }) => [spiIn, spiOut]));
  // A state of its own that is older than itself says that the clock was put forward since.
  const own = entries.filter((entry) => entry.kind === "state" && spis.has(entry.spi));
  const bornMs = Math.min(charon?.startedAtMs ?? Infinity, ...own.map(({ addedAtMs }) => addedAtMs));
  const older = entries.filter(({ addedAtMs }) => addedAtMs < bornMs);
  // As in nearly every pass.
  if (older.length === 0) return [];
  // A trap is charon's too, and is in no SA.
  const policies = new Set([...children, ...tunnels.filter(mayInitiate)].flatMap(policiesOf));
  // For a range of addresses charon installs a policy that covers it, and does not tell which.
  const areAllTold = children.every(({ localSubnets, peerSubnets }) =>
    [...localSubnets, ...peerSubnets].every((selector) => cidrOfSelector(selector) !== undefined),
  );
  const isCharons = (entry: IpsecEntry): boolean =>
    entry.kind === "state" ? spis.has(entry.spi) : !areAllTold || policies.has(keyOf(entry));
  return older.filter((entry) => !isCharons(entry));
}

const keyOf = ({ direction, source, destination }: Extract<IpsecEntry, { kind: "policy" }>): string =>
  policyKey(direction, source, destination);
