// With ESP in the kernel: what a charon that was killed has left there. It goes on carrying what it was negotiated for, whatever
// is wanted meanwhile, until its lifetime is over, and nobody else would take it away.
import { policiesOf, policyKey, type IpsecEntry, type KernelPlane } from "./data-plane.ts";
import type { Tunnel } from "./model.ts";
import { belongsTo, type RunningCharon } from "./observed.ts";
import { mayInitiate } from "./plan-peer.ts";
import { readAddress } from "./read-address.ts";

/** For how long what is left carries a tunnel that the next charon has not brought up yet. */
const TAKEOVER_MS = 10_000;

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
  charon: Pick<RunningCharon, "ikeSas" | "startedAtMs"> | undefined,
  tunnels: readonly Tunnel[],
  nowMs: number,
): Remains {
  const children = (charon?.ikeSas ?? []).flatMap((sa) => sa.children);
  const spis = new Set(children.flatMap(({ spiIn, spiOut }) => [spiIn, spiOut]));
  // A trap is charon's too, and is in no SA.
  const policies = new Set([...children, ...tunnels.filter(mayInitiate)].flatMap(policiesOf));
  const isCharons = (entry: IpsecEntry): boolean =>
    entry.kind === "state" ? spis.has(entry.spi) : policies.has(keyOf(entry));
  const isOlder = ({ addedAtMs }: IpsecEntry): boolean => charon === undefined || addedAtMs < charon.startedAtMs;
  const left = entries.filter((entry) => isOlder(entry) && !isCharons(entry));

  const untilMs = charon === undefined ? undefined : charon.startedAtMs + TAKEOVER_MS;
  if (untilMs !== undefined && untilMs <= nowMs) return { entries: left, wakeAtMs: undefined };
  const isUp = ({ id }: Tunnel): boolean =>
    children.some(({ name, state }) => state === "installed" && belongsTo(name, id));
  const down = tunnels.filter((tunnel) => !isUp(tunnel));
  const isOver = (entry: IpsecEntry): boolean => !down.some((tunnel) => mayCarry(entry, tunnel));
  const over = left.filter(isOver);
  return { entries: over, wakeAtMs: over.length === left.length ? undefined : untilMs };
}

const keyOf = ({ direction, source, destination }: Extract<IpsecEntry, { kind: "policy" }>): string =>
  policyKey(direction, source, destination);

/** A state says between which gateways it is, and no more. */
function mayCarry(entry: IpsecEntry, tunnel: Tunnel): boolean {
  if (entry.kind === "policy") return policiesOf(tunnel).includes(keyOf(entry));
  const peer = readAddress(tunnel.peerAddress);
  return peer === undefined || [entry.source, entry.destination].includes(peer);
}
