// What is changed on a live connection, by kind of change, and what each may cost. `docs/updates.md` has a line for each.
import { RIGHT_ADDRESS } from "../../scripts/lab-documents.ts";
import type { EspBackEnd } from "../../src/core/guard.ts";
import { MOST_IN_FLIGHT } from "./traffic.ts";
import { AES_128, AES_256, MOVED_ADDRESS, type Version, type Wanted } from "./update-documents.ts";

/** What may be lost of each direction, how long nothing may come through at most, and which SAs of `site` are new then. */
export type Cost = {
  readonly lost: number;
  readonly gapMs: number;
  readonly made: "nothing" | "child" | "ike and child";
};

export type UpdateRow = {
  readonly what: string;
  readonly sides: "both" | "left" | "right";
  /** What has to be so before; what is not is changed first, and not measured. */
  readonly given?: Partial<Wanted>;
  readonly change: (before: Wanted) => Partial<Wanted>;
  /** A second change, for instance that of the other side. */
  readonly then?: { readonly afterMs: number; readonly change: (before: Wanted) => Partial<Wanted> };
  readonly cost: Readonly<Record<Version, Cost>>;
  readonly backEnds?: readonly EspBackEnd[];
  /** One of each way in which a change is made: these are measured in every place, the others where there is time. */
  readonly isMeasuredEverywhere?: true;
};

const NOTHING: Cost = { lost: 0, gapMs: 0, made: "nothing" };
const onlyFor = (v1: Cost, v2: Cost): Record<Version, Cost> => ({ v1, v2 });
const always = (cost: Cost): Record<Version, Cost> => ({ v1: cost, v2: cost });
const FREE = always(NOTHING);
const IN_FLIGHT = { lost: MOST_IN_FLIGHT, gapMs: 500 };
/** Broken before it is made: for how long at most, machines that are busy with other work included. */
const broken = (gapMs: number, made: Cost["made"]): Cost => ({ lost: Infinity, gapMs, made });

const other = <T>(is: T, one: T, another: T): T => (is === one ? another : one);

export const UPDATE_ROWS: readonly UpdateRow[] = [
  { what: "name", sides: "both", change: ({ name }) => ({ name: other(name, "site", "renamed") }), cost: FREE },
  {
    what: "description",
    sides: "both",
    change: ({ description }) => ({ description: other(description, "", "said otherwise") }),
    cost: FREE,
    isMeasuredEverywhere: true,
  },
  { what: "MTU", sides: "both", change: ({ mtu }) => ({ mtu: other(mtu, 1500, 1380) }), cost: FREE },
  {
    what: "lifetime of IKE",
    sides: "both",
    change: ({ ikeLifetime }) => ({ ikeLifetime: other(ikeLifetime, 3600, 7200) }),
    cost: always({ ...IN_FLIGHT, made: "ike and child" }),
    isMeasuredEverywhere: true,
  },
  {
    what: "lifetime of IPsec",
    sides: "both",
    change: ({ ipsecLifetime }) => ({ ipsecLifetime: other(ipsecLifetime, 3600, 7200) }),
    cost: FREE,
  },
  {
    what: "DPD interval and timeout",
    sides: "both",
    change: ({ dpd }) => ({
      dpd: { ...dpd, interval: other(dpd.interval, 5, 7), timeout: other(dpd.timeout, 20, 30) },
    }),
    cost: always({ ...IN_FLIGHT, made: "ike and child" }),
  },
  {
    what: "DPD action",
    sides: "both",
    change: ({ dpd }) => ({ dpd: { ...dpd, action: other(dpd.action, "restart", "hold") } }),
    cost: FREE,
  },
  {
    what: "a CIDR added",
    sides: "both",
    given: { subnets: ["10.2.0.0/24"] },
    change: () => ({ subnets: ["10.2.0.0/24", "10.3.0.0/24"] }),
    cost: onlyFor(NOTHING, { ...IN_FLIGHT, made: "child" }),
    isMeasuredEverywhere: true,
  },
  {
    what: "a CIDR removed",
    sides: "both",
    given: { subnets: ["10.2.0.0/24", "10.3.0.0/24"] },
    change: () => ({ subnets: ["10.2.0.0/24"] }),
    cost: onlyFor(NOTHING, { ...IN_FLIGHT, made: "child" }),
  },
  {
    what: "another connection to the same peer created",
    sides: "both",
    given: { more: "none" },
    change: () => ({ more: "beside" }),
    cost: FREE,
  },
  {
    what: "another connection to the same peer deleted",
    sides: "both",
    given: { more: "beside", subnets: ["10.2.0.0/24"] },
    change: () => ({ more: "none" }),
    cost: FREE,
    isMeasuredEverywhere: true,
  },
  {
    what: "a connection to another peer created",
    sides: "both",
    given: { more: "none" },
    change: () => ({ more: "apart" }),
    cost: FREE,
  },
  {
    what: "a connection to another peer deleted",
    sides: "both",
    given: { more: "apart" },
    change: () => ({ more: "none" }),
    cost: FREE,
  },
  {
    what: "initiator to response-only, on one side",
    sides: "left",
    given: { leftInitiator: "bi-directional" },
    change: () => ({ leftInitiator: "response-only" }),
    cost: FREE,
  },
  {
    what: "initiator back to bi-directional, on one side",
    sides: "left",
    given: { leftInitiator: "response-only" },
    change: () => ({ leftInitiator: "bi-directional" }),
    cost: FREE,
  },
  {
    what: "pre-shared key, on both sides at once",
    sides: "both",
    change: ({ psk }) => ({ psk: nextPsk(psk) }),
    cost: onlyFor(broken(45_000, "ike and child"), { ...IN_FLIGHT, made: "ike and child" }),
    isMeasuredEverywhere: true,
  },
  {
    what: "pre-shared key, the other side 2 s later",
    sides: "both",
    change: ({ psk }) => ({ psk: { ...psk, left: nextPsk(psk).left } }),
    then: { afterMs: 2_000, change: ({ psk }) => ({ psk: { ...psk, right: psk.left } }) },
    cost: always(broken(45_000, "ike and child")),
  },
  {
    what: "identity of the peer",
    sides: "both",
    change: ({ rightId }) => ({ rightId: other<Wanted["rightId"]>(rightId, "its address", "@right.example") }),
    cost: always(broken(20_000, "ike and child")),
  },
  {
    what: "address of the peer",
    sides: "both",
    change: ({ rightAddress }) => ({ rightAddress: other(rightAddress, RIGHT_ADDRESS, MOVED_ADDRESS) }),
    cost: always(broken(20_000, "ike and child")),
  },
  {
    what: "proposal of IKE",
    sides: "both",
    change: ({ ike }) => ({ ike: other(ike, AES_128, AES_256) }),
    cost: always(broken(20_000, "ike and child")),
  },
  {
    what: "proposal of ESP",
    sides: "both",
    change: ({ ipsec }) => ({ ipsec: other(ipsec, AES_128, AES_256) }),
    cost: always(broken(30_000, "ike and child")),
    isMeasuredEverywhere: true,
  },
  {
    what: "ESP to AH",
    sides: "both",
    given: { ipsec: AES_128 },
    change: () => ({ ipsec: { ...AES_128, transform_protocol: "ah" } }),
    cost: always(broken(30_000, "ike and child")),
    backEnds: ["kernel"],
    isMeasuredEverywhere: true,
  },
  {
    what: "tunnel to transport mode, between the gateways",
    sides: "both",
    given: { gateways: "tunnel", ipsec: AES_128 },
    change: () => ({ gateways: "transport" }),
    cost: always(broken(30_000, "ike and child")),
    backEnds: ["kernel"],
    isMeasuredEverywhere: true,
  },
  {
    what: "administratively down, and up 2 s later, on one side",
    sides: "left",
    given: { gateways: "none" },
    change: () => ({ isLeftUp: false }),
    then: { afterMs: 2_000, change: () => ({ isLeftUp: true }) },
    cost: always(broken(20_000, "ike and child")),
    isMeasuredEverywhere: true,
  },
  {
    what: "IKE version",
    sides: "both",
    change: ({ version }) => ({ version: other<Version>(version, "v1", "v2") }),
    cost: always(broken(20_000, "ike and child")),
  },
];

function nextPsk(psk: Wanted["psk"]): Wanted["psk"] {
  const next = other(psk.left, "one secret", "another secret");
  return { left: next, right: next };
}
