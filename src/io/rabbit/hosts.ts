// In which order the hosts of a transport URL are tried. It refuses to know how, and how long between.

/** oslo.messaging's kombu_failover_strategy. */
export type FailoverStrategy = "round-robin" | "shuffle";

export type HostOrder<Host> = {
  readonly current: Host;
  /** The current host is of no use: the next one is current. True when a whole round of hosts was of none. */
  next(): boolean;
  /** The current host is good: a round begins anew with it. */
  settle(): void;
};

/**
 * The list is shuffled once at the start, as oslo.messaging does it: agents of one cloud share one transport_url and
 * should not all begin at its first host. `round-robin` keeps that order, `shuffle` makes another one for every round.
 */
export function createHostOrder<Host>(
  hosts: readonly [Host, ...Host[]],
  strategy: FailoverStrategy,
  random: () => number,
): HostOrder<Host> {
  let order = shuffled(hosts, random);
  let at = 0;
  let failed = 0;

  function reorder(): void {
    const last = order[at];
    order = shuffled(hosts, random);
    // The one that failed a moment ago is the worst to begin with.
    const [first, ...others] = order;
    if (first !== undefined && first === last) order = [...others, first];
  }

  return {
    get current() {
      return order[at] ?? hosts[0];
    },
    next() {
      failed += 1;
      const isRoundDone = failed % hosts.length === 0;
      if (isRoundDone && strategy === "shuffle") {
        reorder();
        at = 0;
      } else {
        at = (at + 1) % hosts.length;
      }
      return isRoundDone;
    },
    settle() {
      failed = 0;
      // The others are tried before this one is tried again.
      order = [...order.slice(at), ...order.slice(0, at)];
      at = 0;
    },
  };
}

function shuffled<Item>(items: readonly Item[], random: () => number): readonly Item[] {
  const left = [...items];
  const order: Item[] = [];
  while (left.length > 0) order.push(...left.splice(Math.floor(random() * left.length), 1));
  return order;
}
