// What a restless operator does to the documents: one random change of the model at a time, and as often a repair of one.
import type { Random } from "./random.ts";
import {
  bondOf,
  DEFAULT_POLICY,
  otherSide,
  SIDES,
  type Bond,
  type Model,
  type Pair,
  type Policy,
  type Side,
} from "./model.ts";

export type Change = { readonly text: string; readonly model: Model };

const CHANGES = {
  "psk-both": (model, random) =>
    inBond(model, random, (bond, psk) => ({ text: "another key", bond: { ...bond, psk: { left: psk, right: psk } } })),
  "psk-one-side": (model, random) =>
    inBond(model, random, (bond, psk) => {
      const side = random.pick(SIDES);
      return { text: `another key on the ${side}`, bond: { ...bond, psk: { ...bond.psk, [side]: psk } } };
    }),
  subnet: (model, random) =>
    inPair(model, random, (pair) => {
      const side = random.pick(SIDES);
      const hasSecond = { ...pair.hasSecond, [side]: !pair.hasSecond[side] };
      return { text: `a subnet ${hasSecond[side] ? "more" : "less"} on the ${side}`, pair: { ...pair, hasSecond } };
    }),
  mtu: (model, random) =>
    inPair(model, random, (pair) => {
      const mtu = random.pick([1280, 1350, 1400, 1420, 1500]);
      return { text: `MTU ${mtu}`, pair: { ...pair, mtu } };
    }),
  rename: (model, random) =>
    inPair(model, random, (pair) => {
      const side = random.pick(SIDES);
      const name = `site-${pair.number}-${side}-${random.whole(1, 9999)}`;
      return { text: `named ${name}`, pair: withEnd(pair, side, { name }) };
    }),
  "admin-state": (model, random) =>
    inPair(model, random, (pair) => {
      const side = random.pick(SIDES);
      const isUp = !pair.ends[side].isUp;
      return { text: `${isUp ? "on" : "off"} on the ${side}`, pair: withEnd(pair, side, { isUp }) };
    }),
  "create-delete": (model, random) =>
    inPair(model, random, (pair) => {
      const side = random.pick(SIDES);
      const isPresent = !pair.ends[side].isPresent;
      return { text: `${isPresent ? "created" : "deleted"} on the ${side}`, pair: withEnd(pair, side, { isPresent }) };
    }),
  dpd: (model, random) =>
    inBond(model, random, (bond) => {
      const interval = random.whole(3, 9);
      const dpd = {
        action: random.pick(["restart", "clear", "hold"]),
        interval,
        timeout: interval * random.whole(3, 5),
      };
      return { text: `DPD ${dpd.action} ${dpd.interval} ${dpd.timeout}`, bond: { ...bond, dpd } };
    }),
  lifetime: (model, random) =>
    inPolicy(model, random, SIDES, () => ({
      ikeLifetime: 60 * random.whole(40, 90),
      espLifetime: 60 * random.whole(40, 90),
    })),
  "algorithm-both": (model, random) =>
    inPolicy(model, random, SIDES, (_, version) => randomAlgorithms(random, version)),
  "algorithm-one-side": (model, random) =>
    inPolicy(model, random, [random.pick(SIDES)], ({ ikeAuth }) => ({
      ikeAuth: ikeAuth === "sha256" ? "sha384" : "sha256",
    })),
  "service-state": (model, random) => {
    const { number } = random.pick(model.routers);
    const text = `service ${number} ${model.disabled.has(number) ? "on" : "off"}`;
    return { text, model: { ...model, disabled: toggled(model.disabled, number) } };
  },
  withdraw: (model, random) => {
    const { number } = random.pick(model.routers);
    const text = `service ${number} ${model.withdrawn.has(number) ? "created" : "deleted"}`;
    return { text, model: { ...model, withdrawn: toggled(model.withdrawn, number) } };
  },
} satisfies Readonly<Record<string, (model: Model, random: Random) => Change>>;

export type ChangeKind = keyof typeof CHANGES;
export const CHANGE_KINDS = Object.keys(CHANGES) as readonly ChangeKind[];
/** As much breaks as is mended, so that most tunnels can be up most of the time. */
const MEND = 0.5;

export function randomChange(model: Model, random: Random, kinds: readonly ChangeKind[]): Change {
  if (random.chance(MEND)) {
    const mended = mend(model, random);
    if (mended !== undefined) return mended;
  }
  const kind = random.pick(kinds);
  const made = CHANGES[kind](model, random);
  return { ...made, text: `${kind}: ${made.text}` };
}

/** One of the things that keep tunnels down is put right. */
function mend(model: Model, random: Random): Change | undefined {
  const broken: Change[] = [
    ...[...model.withdrawn].map((number) => ({
      text: `mend: service ${number} created`,
      model: { ...model, withdrawn: toggled(model.withdrawn, number) },
    })),
    ...[...model.disabled].map((number) => ({
      text: `mend: service ${number} on`,
      model: { ...model, disabled: toggled(model.disabled, number) },
    })),
    ...model.bonds.flatMap((bond) => mendBond(model, bond)),
    ...model.pairs.flatMap((pair) => SIDES.flatMap((side) => mendEnd(model, pair, side))),
  ];
  return broken.length === 0 ? undefined : random.pick(broken);
}

function mendBond(model: Model, bond: Bond): readonly Change[] {
  const { psk, policy, number } = bond;
  const mends: Change[] = [];
  if (psk.left !== psk.right) {
    const whole = { ...bond, psk: { left: psk.left, right: psk.left } };
    mends.push({ text: `mend: one key in bond ${number}`, model: withBond(model, whole) });
  }
  if (policy.left.ikeAuth !== policy.right.ikeAuth) {
    const whole = { ...bond, policy: { left: policy.left, right: policy.left } };
    mends.push({ text: `mend: one policy in bond ${number}`, model: withBond(model, whole) });
  }
  return mends;
}

function mendEnd(model: Model, pair: Pair, side: Side): readonly Change[] {
  const { isPresent, isUp } = pair.ends[side];
  if (isPresent && isUp) return [];
  const whole = withEnd(pair, side, { isPresent: true, isUp: true });
  return [{ text: `mend: pair ${pair.number} on the ${side}`, model: withPair(model, whole) }];
}

function randomAlgorithms(random: Random, version: Bond["version"]): Partial<Policy> {
  const auth = random.pick(["sha256", "sha384", "sha512"]);
  const group = random.pick(["group14", "group19", "group20"]);
  return {
    // IKEv1 itself has no combined modes.
    ikeEncryption: random.pick(["aes-128", "aes-256", ...(version === "v2" ? ["aes-256-gcm-16"] : [])]),
    ikeAuth: auth,
    ikeGroup: group,
    espEncryption: random.pick(["aes-128", "aes-256", "aes-128-gcm-16"]),
    espAuth: auth,
    espGroup: group,
  };
}

const toggled = (set: ReadonlySet<number>, number: number): ReadonlySet<number> =>
  set.has(number) ? new Set([...set].filter((one) => one !== number)) : new Set([...set, number]);

const withEnd = (pair: Pair, side: Side, end: Partial<Pair["ends"]["left"]>): Pair => {
  const there = otherSide(side);
  const ends = { [side]: { ...pair.ends[side], ...end }, [there]: pair.ends[there] };
  return { ...pair, ends: ends as Pair["ends"] };
};

const withBond = (model: Model, bond: Bond): Model => ({
  ...model,
  bonds: model.bonds.map((one) => (one.number === bond.number ? bond : one)),
});
const withPair = (model: Model, pair: Pair): Model => ({
  ...model,
  pairs: model.pairs.map((one) => (one.number === pair.number ? pair : one)),
});

function inBond(
  model: Model,
  random: Random,
  make: (bond: Bond, psk: string) => { readonly text: string; readonly bond: Bond },
): Change {
  const bond = random.pick(model.bonds);
  const made = make(bond, `secret ${bond.number}.${random.whole(1, 1_000_000)}`);
  return { text: `bond ${bond.number}: ${made.text}`, model: withBond(model, made.bond) };
}

function inPolicy(
  model: Model,
  random: Random,
  sides: readonly Side[],
  make: (policy: Policy, version: Bond["version"]) => Partial<Policy>,
): Change {
  return inBond(model, random, (bond) => {
    const change = make(bond.policy.left, bond.version);
    const policy = { ...bond.policy };
    for (const side of sides) policy[side] = { ...DEFAULT_POLICY, ...bond.policy[side], ...change };
    return { text: `${sides.join(" and ")} ${Object.values(change).join(" ")}`, bond: { ...bond, policy } };
  });
}

function inPair(
  model: Model,
  random: Random,
  make: (pair: Pair) => { readonly text: string; readonly pair: Pair },
): Change {
  const pair = random.pick(model.pairs);
  const made = make(pair);
  const { left, right } = bondOf(model, pair);
  return {
    text: `pair ${pair.number} (${left.number}-${right.number}): ${made.text}`,
    model: withPair(model, made.pair),
  };
}
