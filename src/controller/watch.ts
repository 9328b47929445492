// Wakes when something in the documents' directory changes. Events are hints: who is woken reads everything.
import { watch } from "chokidar";
import type { Logger } from "pino";

export type WatchOptions = {
  readonly directory: string;
  /** Quiet time after the last event: a checkout touches many files. */
  readonly debounceMs: number;
  /** Events get lost on network and overlay file systems: read again this often without one. */
  readonly rereadMs: number;
  readonly log: Logger;
  readonly onWake: () => void;
};

export type Watch = {
  /** Files outside the directory, from now on. */
  follow(files: readonly string[]): void;
  close(): Promise<void>;
};

/** Resolves when changes are seen from now on. */
export async function watchDocuments({ directory, debounceMs, rereadMs, log, onWake }: WatchOptions): Promise<Watch> {
  const watcher = watch(directory, {
    ignoreInitial: true,
    ignored: (path) => path.endsWith("/.git"),
  });
  let pending: NodeJS.Timeout | undefined;
  let followed: readonly string[] = [];
  const wake = (): void => {
    clearTimeout(pending);
    pending = setTimeout(onWake, debounceMs);
  };
  const interval = setInterval(onWake, rereadMs);
  watcher.on("all", wake);
  watcher.on("error", (err) =>
    log.warn({ directory, err }, "watching the documents broke, they are read in intervals"),
  );
  await new Promise<void>((resolve) => void watcher.once("ready", resolve));
  return {
    follow(files) {
      watcher.unwatch(followed.filter((file) => !files.includes(file)));
      watcher.add(files.filter((file) => !followed.includes(file)));
      followed = files;
    },
    async close() {
      clearTimeout(pending);
      clearInterval(interval);
      await watcher.close();
    },
  };
}
