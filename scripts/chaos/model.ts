// What the run's control plane wants, as a value that random changes make another value of. `documents.ts` writes it down.
import { createHash } from "node:crypto";

export type Side = "left" | "right";
export const SIDES: readonly Side[] = ["left", "right"];
export const otherSide = (side: Side): Side => (side === "left" ? "right" : "left");

export type SiteRouter = {
  readonly id: string;
  /** From 1 on, through both sides; addresses are made of it. */
  readonly number: number;
  readonly side: Side;
};

/** Algorithms and lifetimes of one side, in Neutron's words. */
export type Policy = {
  readonly ikeEncryption: string;
  readonly ikeAuth: string;
  readonly ikeGroup: string;
  readonly ikeLifetime: number;
  readonly espEncryption: string;
  readonly espAuth: string;
  readonly espGroup: string;
  readonly espLifetime: number;
};

/** Two routers that share an IKE SA. What their connections have to agree in is here. */
export type Bond = {
  readonly number: number;
  readonly left: SiteRouter;
  readonly right: SiteRouter;
  readonly version: "v1" | "v2";
  readonly psk: Readonly<Record<Side, string>>;
  readonly policy: Readonly<Record<Side, Policy>>;
  readonly dpd: { readonly action: string; readonly interval: number; readonly timeout: number };
};

/** One connection as one of its two routers sees it. */
export type End = {
  readonly id: string;
  readonly name: string;
  readonly isPresent: boolean;
  readonly isUp: boolean;
};

export type Pair = {
  readonly number: number;
  readonly bond: number;
  /** Which of its routers' subnets are its own. */
  readonly slot: number;
  /** Besides the first subnet of the slot, the second: on the left, on the right. */
  readonly hasSecond: Readonly<Record<Side, boolean>>;
  readonly ends: Readonly<Record<Side, End>>;
  readonly mtu: number;
};

export type Model = {
  readonly hosts: Readonly<Record<Side, string>>;
  readonly routers: readonly SiteRouter[];
  /** Numbers of routers whose service is taken away for the time being. */
  readonly withdrawn: ReadonlySet<number>;
  /** Numbers of routers whose service is administratively down. */
  readonly disabled: ReadonlySet<number>;
  readonly bonds: readonly Bond[];
  readonly pairs: readonly Pair[];
};

export const SLOTS = 3;
export const addressOf = (router: SiteRouter): string => `203.0.113.${100 + router.number}`;
/** Where a router's own way to the internet is beside its VPN gateway: its address there. */
export const egressAddressOf = (router: SiteRouter): string => `203.0.113.${150 + router.number}`;
/** Where Neutron gives a router's host an address of its own on the internet. */
export const floatingAddressOf = (router: SiteRouter): string => `203.0.113.${200 + router.number}`;
/** The third octets that a LAN has. */
export const LAN_OCTETS: readonly number[] = [...Array(2 * SLOTS).keys()];
export const subnetOf = (router: SiteRouter, octet: number): string => `10.${router.number}.${octet}.0/24`;
export const lanAddressOf = (router: SiteRouter, octet: number): string => `10.${router.number}.${octet}.1`;
export const hostAddressOf = (router: SiteRouter, octet: number): string => `10.${router.number}.${octet}.9`;

/** A router's LAN and the host on it, as the world makes them. */
export const lanOf = (router: SiteRouter) => ({
  lan: LAN_OCTETS.map((octet) => `${lanAddressOf(router, octet)}/24`),
  hosts: [
    {
      name: `h${router.number}`,
      addresses: LAN_OCTETS.map((octet) => `${hostAddressOf(router, octet)}/24`),
      gateways: [lanAddressOf(router, 0)],
    },
  ],
});

/** Octets of the subnets that a pair carries on one side. */
export const octetsOf = (pair: Pair, side: Side): readonly number[] =>
  pair.hasSecond[side] ? [pair.slot, SLOTS + pair.slot] : [pair.slot];

export const bondOf = (model: Model, pair: Pair): Bond => {
  const found = model.bonds.find(({ number }) => number === pair.bond);
  if (found === undefined) throw new Error(`pair ${String(pair.number)} has no bond`);
  return found;
};

export const DEFAULT_POLICY: Policy = {
  ikeEncryption: "aes-256",
  ikeAuth: "sha256",
  ikeGroup: "group19",
  ikeLifetime: 3600,
  espEncryption: "aes-256",
  espAuth: "sha256",
  espGroup: "group19",
  espLifetime: 3600,
};

/** A version-4 UUID made of a text: random where the text is, and told again by it. */
export function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * As many routers on the left as on the right, each with three connections: two to its counterpart, which share an IKE SA,
 * and one to the next. `unique` goes into all ids, so that runs side by side do not meet.
 */
export function firstModel(unique: string, perSide: number): Model {
  const router = (side: Side, index: number): SiteRouter => {
    const number = (side === "left" ? 0 : perSide) + index + 1;
    return { id: uuidOf(`${unique} router ${number}`), number, side };
  };
  const lefts = Array.from({ length: perSide }, (_, index) => router("left", index));
  const rights = Array.from({ length: perSide }, (_, index) => router("right", index));
  const bonds: Bond[] = [];
  const pairs: Pair[] = [];
  for (const [index, left] of lefts.entries()) {
    const facing = [rights[index], rights[(index + 1) % perSide]];
    for (const [step, right] of facing.entries()) {
      if (right === undefined) continue;
      const number = 2 * index + step + 1;
      bonds.push(firstBond(number, left, right));
      for (const slot of step === 0 ? [0, 1] : [2]) pairs.push(firstPair(unique, pairs.length + 1, number, slot));
    }
  }
  const hosts = { left: `${unique}-left`, right: `${unique}-right` };
  return { hosts, routers: [...lefts, ...rights], withdrawn: new Set(), disabled: new Set(), bonds, pairs };
}

const firstBond = (number: number, left: SiteRouter, right: SiteRouter): Bond => ({
  number,
  left,
  right,
  // Every third one old.
  version: number % 3 === 0 ? "v1" : "v2",
  psk: { left: `secret ${number}`, right: `secret ${number}` },
  policy: { left: DEFAULT_POLICY, right: DEFAULT_POLICY },
  dpd: { action: "restart", interval: 5, timeout: 20 },
});

function firstPair(unique: string, number: number, bond: number, slot: number): Pair {
  const end = (side: Side): End => ({
    id: uuidOf(`${unique} connection ${number} ${side}`),
    name: `site-${number}-${side}`,
    isPresent: true,
    isUp: true,
  });
  return {
    number,
    bond,
    slot,
    hasSecond: { left: false, right: false },
    ends: { left: end("left"), right: end("right") },
    mtu: 1500,
  };
}
