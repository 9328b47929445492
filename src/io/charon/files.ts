// charon's files of one router: strongswan.conf and one swanctl file per connection. Everything here can be made again,
// so the directory may be deleted at any time. Mode 0600, since the files hold pre-shared keys.
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { textFingerprint, type Fingerprint, type NodeKey } from "../../core/fingerprint.ts";
import { connectionId, isUuid, type ConnectionId, type RouterId } from "../../core/ids.ts";
import { routerOfNamespace } from "../../core/names.ts";
import { writePrivateFile } from "../private-file.ts";

export type CharonPaths = {
  readonly directory: string;
  readonly strongswanConf: string;
  readonly connectionDirectory: string;
  readonly socket: string;
};

/** `runDirectory` holds a directory per namespace; the sockets are outside of it, for it may be deleted. */
export const charonPaths = (runDirectory: string, socketDirectory: string, namespace: string): CharonPaths => {
  const directory = join(runDirectory, namespace);
  return {
    directory,
    strongswanConf: join(directory, "strongswan.conf"),
    connectionDirectory: join(directory, "swanctl", "conf.d"),
    socket: join(socketDirectory, `charon.${namespace}.vici`),
  };
};

/** Made again when it is lost: it need not outlast a power cut. */
export const writeCharonFile = (path: string, text: string): void => writePrivateFile(path, text, { isKept: false });

const fileOf = (paths: CharonPaths, connection: ConnectionId): string =>
  join(paths.connectionDirectory, `${connection}.conf`);

export const writeConnectionFile = (paths: CharonPaths, connection: ConnectionId, text: string): void =>
  writeCharonFile(fileOf(paths, connection), text);

export const removeConnectionFile = (paths: CharonPaths, connection: ConnectionId): void =>
  rmSync(fileOf(paths, connection), { force: true });

/** Routers of which anything is left below the run directory. */
export function routersWithFiles(runDirectory: string): readonly RouterId[] {
  if (!existsSync(runDirectory)) return [];
  return readdirSync(runDirectory).flatMap((name) => routerOfNamespace(name) ?? []);
}

export const hasFiles = (paths: CharonPaths): boolean => existsSync(paths.directory);

/** Everything of a charon that has ended; one that was killed has left its socket. */
export function removeAll(paths: CharonPaths): void {
  rmSync(paths.directory, { recursive: true, force: true });
  rmSync(paths.socket, { force: true });
}

type Known = { readonly stamp: string; readonly fingerprint: Fingerprint };

/** Reads what is on disk, and reads a file again only when its inode, size or time of change is another. */
export class ConnectionFiles {
  readonly #paths: CharonPaths;
  readonly #key: NodeKey;
  readonly #known = new Map<ConnectionId, Known>();

  constructor(paths: CharonPaths, key: NodeKey) {
    this.#paths = paths;
    this.#key = key;
  }

  read(): ReadonlyMap<ConnectionId, Fingerprint> {
    const found = new Map<ConnectionId, Fingerprint>();
    for (const connection of this.#connections()) {
      const fingerprint = this.#fingerprint(connection);
      if (fingerprint !== undefined) found.set(connection, fingerprint);
    }
    return found;
  }

  /** Every file's text, decoded. */
  texts<T>(decode: (connection: ConnectionId, text: string) => T): ReadonlyMap<ConnectionId, T> {
    const found = new Map<ConnectionId, T>();
    for (const connection of this.#connections()) {
      const path = fileOf(this.#paths, connection);
      if (existsSync(path)) found.set(connection, decode(connection, readFileSync(path, "utf8")));
    }
    return found;
  }

  #connections(): readonly ConnectionId[] {
    let names: readonly string[];
    try {
      names = readdirSync(this.#paths.connectionDirectory);
    } catch {
      return []; // not made yet, or deleted: the plan writes it
    }
    const ids = names.flatMap((name) => (name.endsWith(".conf") ? [name.slice(0, -".conf".length)] : []));
    return ids.filter(isUuid).map(connectionId);
  }

  #fingerprint(connection: ConnectionId): Fingerprint | undefined {
    const path = fileOf(this.#paths, connection);
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    const stamp = [stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs, stat.mode].join(":");
    const known = this.#known.get(connection);
    if (known?.stamp === stamp) return known.fingerprint;
    // A file that others may read is not as we wrote it.
    const isPrivate = (stat.mode & 0o077n) === 0n;
    const fingerprint = textFingerprint(this.#key, `${isPrivate ? "" : "exposed "}${readFileSync(path, "utf8")}`);
    this.#known.set(connection, { stamp, fingerprint });
    return fingerprint;
  }
}
