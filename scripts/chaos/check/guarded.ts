// Which packets in clear are leaks: those of a connection that was known to be in force and is listed ever since, or is
// listed for so long that it has to be. What is asked for no longer goes the ordinary way.
import type { SubjectRouter } from "./subject.ts";
import type { Wanted } from "./wanted.ts";

export class Guarded {
  readonly #routers: readonly SubjectRouter[];
  readonly #graceMs: number;
  /** From when on, Unix time in ms, by `<router id> <peer's subnet>`. */
  #inForce = new Map<string, number>();

  constructor(routers: readonly SubjectRouter[], graceMs: number) {
    this.#routers = routers;
    this.#graceMs = graceMs;
  }

  /** Everything was found right just now. */
  confirm(wanted: Wanted): void {
    this.#inForce = new Map(keysOf(wanted).map((key) => [key, Date.now()]));
  }

  /** The documents were changed just now. */
  change(wanted: Wanted): void {
    const at = Date.now() + this.#graceMs;
    this.#inForce = new Map(keysOf(wanted).map((key) => [key, this.#inForce.get(key) ?? at]));
  }

  /** The router whose guard let this line of tcpdump's out, if one should not have. */
  leakedBy(line: string): SubjectRouter | undefined {
    const [, from = "", to = ""] = /\bIP (\d+\.\d+\.\d+\.\d+)\S* > (\d+\.\d+\.\d+\.\d+)/.exec(line) ?? [];
    const router = this.#routers.find((one) => one.egressAddresses.includes(from) || from.startsWith(one.lanPrefix));
    const subnet = to.replace(/\d+$/, "0/24");
    const since = this.#inForce.get(`${String(router?.id)} ${subnet}`);
    return since !== undefined && since <= Date.now() ? router : undefined;
  }
}

const keysOf = (wanted: Wanted): readonly string[] =>
  wanted.connections.flatMap(({ routerId, peerSubnets }) => peerSubnets.map((subnet) => `${routerId} ${subnet}`));
