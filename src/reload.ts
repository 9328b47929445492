// What a daemon does when it is asked to read its configuration again: it tells each change and whether that is in force,
// and keeps what it has when the file cannot be used. It refuses to know how it is asked and how a change is applied.
import type { RereadConfig } from "./config-changes.ts";
import type { Logger } from "./io/log.ts";

export type Reload<Config> = {
  /** Reads the file again and compares it with what is in force. */
  readonly read: (inForce: Config) => RereadConfig<Config>;
  /** `reload` is called whenever it is asked for; at once if it was before. */
  readonly onAsked: (reload: () => void) => void;
};

type Reloadable = { readonly log: { readonly level: string }; readonly warnings: readonly string[] };

export function tellWarnings(config: Reloadable, log: Logger): void {
  for (const warning of config.warnings) log.warn({ warning }, "configuration is used, but look at this");
}

/** From now on; `apply` puts in force what needs no restart. */
export function reloadWhenAsked<Config extends Reloadable>(
  config: Config,
  reload: Reload<Config>,
  log: Logger,
  apply: (config: Config) => void,
): void {
  let inForce = config;
  const readAgain = (): void => {
    const read = reload.read(inForce);
    if (read.kind === "invalid") {
      for (const problem of read.problems) log.error({ problem }, "configuration not usable, the one in force stays");
      return;
    }
    const { file, value, changes } = read;
    // At the level that tells more of the two: whoever asks for less of the log still hears what became of it.
    if (!log.isLevelEnabled(value.log.level)) log.level = value.log.level;
    for (const { isLive, ...change } of changes) {
      if (isLive) log.info(change, "configuration changed, in force now");
      else log.warn(change, "configuration changed, in force after a restart only");
    }
    if (changes.length === 0) log.info({ file }, "configuration read again, nothing differs");
    tellWarnings(value, log);
    log.level = value.log.level;
    inForce = value;
    apply(value);
  };
  reload.onAsked(() => {
    try {
      readAgain();
    } catch (err) {
      log.error({ code: "INTERNAL", err }, "internal error while the configuration was read again: please report it");
    }
  });
}
