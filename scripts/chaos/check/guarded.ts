// Which packets in clear are leaks: those of a connection that was known to be in force, and is listed ever since. What was
// never asked for, or is asked for no longer, goes the ordinary way.
import type { SubjectRouter } from "./subject.ts";
import type { Wanted } from "./wanted.ts";

export class Guarded {
  readonly #routers: readonly SubjectRouter[];
  /** `<router id> <peer's subnet>`. */
  #inForce = new Set<string>();

  constructor(routers: readonly SubjectRouter[]) {
    this.#routers = routers;
  }

  /** Everything was found right just now. */
  confirm(wanted: Wanted): void {
    this.#inForce = new Set(keysOf(wanted));
  }

  /** The documents were changed just now. */
  change(wanted: Wanted): void {
    const listed = new Set(keysOf(wanted));
    this.#inForce = new Set([...this.#inForce].filter((key) => listed.has(key)));
  }

  /** The router whose guard let this line of tcpdump's out, if one should not have. */
  leakedBy(line: string): SubjectRouter | undefined {
    const [, from = "", to = ""] = /\bIP (\d+\.\d+\.\d+\.\d+)\S* > (\d+\.\d+\.\d+\.\d+)/.exec(line) ?? [];
    const router = this.#routers.find((one) => one.egressAddress === from || from.startsWith(one.lanPrefix));
    const subnet = to.replace(/\d+$/, "0/24");
    return router !== undefined && this.#inForce.has(`${router.id} ${subnet}`) ? router : undefined;
  }
}

const keysOf = (wanted: Wanted): readonly string[] =>
  wanted.connections.flatMap(({ routerId, peerSubnets }) => peerSubnets.map((subnet) => `${routerId} ${subnet}`));
