// What Neutron's L3 agent writes of a router with high availability: `<state_path>/ha_confs/<router id>/state` holds the
// role that keepalived gave this machine. It tells roles and their changes, and decides nothing about IPsec.
import { existsSync, readFileSync, watch, type FSWatcher } from "node:fs";
import path from "node:path";
import type { RouterId } from "../../core/ids.ts";
import type { Role } from "../../core/ports.ts";
import type { Logger } from "../log.ts";

/** `master` is the older name (neutron, agent/l3/ha.py). */
const PRIMARY = ["primary", "master"];
const STANDBY = ["backup", "fault"];

export class HaStates {
  readonly #fileOf: (router: RouterId) => string;
  readonly #log: Logger;
  readonly #watches = new Set<FileWatch>();
  /** What is wrong, as it was told last. */
  readonly #told = new Map<RouterId, string>();

  constructor(fileOf: (router: RouterId) => string, log: Logger) {
    this.#fileOf = fileOf;
    this.#log = log;
  }

  /** Without a directory of its own a router has no high availability. */
  role(router: RouterId): Role {
    const file = this.#fileOf(router);
    if (!existsSync(path.dirname(file))) return { kind: "active" };
    try {
      const word = readFileSync(file, "utf8").trim();
      if (PRIMARY.includes(word)) {
        this.#told.delete(router);
        return { kind: "active" };
      }
      if (STANDBY.includes(word)) {
        this.#told.delete(router);
        return { kind: "standby", why: `the router's HA state is ${word} on this machine: another one carries it` };
      }
      return this.#doubtful(router, `${file} holds neither primary nor backup nor fault`);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "EIO";
      return this.#doubtful(router, `${file} cannot be read (${code})`);
    }
  }

  watchRole(router: RouterId, onChange: () => void): () => void {
    const watched = new FileWatch(this.#fileOf(router), onChange);
    this.#watches.add(watched);
    return () => {
      this.#watches.delete(watched);
      watched.close();
    };
  }

  close(): void {
    for (const watched of this.#watches) watched.close();
    this.#watches.clear();
  }

  /** Two machines that carry one router are worse than none. */
  #doubtful(router: RouterId, problem: string): Role {
    if (this.#told.get(router) !== problem) {
      this.#told.set(router, problem);
      this.#log.warn({ router, problem }, "HA state of a router is not known, taken for backup");
    }
    return { kind: "standby", why: `${problem}: taken for backup` };
  }
}

/** Follows the nearest directory that there is on the way to a file: the others come later. */
class FileWatch {
  readonly #file: string;
  readonly #onChange: () => void;
  #watcher: FSWatcher | undefined;
  #directory: string | undefined;
  #isClosed = false;

  constructor(file: string, onChange: () => void) {
    this.#file = file;
    this.#onChange = onChange;
    this.#follow();
  }

  close(): void {
    this.#isClosed = true;
    this.#watcher?.close();
  }

  #follow(): void {
    const nearest = nearestDirectory(this.#file);
    if (this.#isClosed || nearest === this.#directory) return;
    this.#watcher?.close();
    this.#directory = undefined;
    try {
      const next = path.relative(nearest, this.#file).split(path.sep)[0];
      this.#watcher = watch(nearest, { persistent: false }, (_event, name) => {
        // Beside it there may be the directories of a thousand other routers; its own going away has its own name.
        if (name !== null && name !== next && name !== path.basename(nearest)) return;
        this.#follow();
        this.#onChange();
      });
      this.#watcher.on("error", () => {
        this.#directory = undefined;
      });
      this.#directory = nearest;
      // What came between the look and the watch.
      if (nearestDirectory(this.#file) !== nearest) this.#follow();
    } catch {
      // It went this moment: the next pass asks for the role anyway.
    }
  }
}

function nearestDirectory(file: string): string {
  let directory = path.dirname(file);
  while (!existsSync(directory) && path.dirname(directory) !== directory) directory = path.dirname(directory);
  return directory;
}
