// What a command writes to, and the exit codes that all of them share.
import picocolors from "picocolors";

export type Terminal = {
  out(text: string): void;
  err(text: string): void;
  /** Whether somebody looks at it: short ids, redrawing. */
  readonly isInteractive: boolean;
  readonly hasColours: boolean;
  /** Width, where there is one. */
  readonly columns?: number | undefined;
};

export function terminalOf(
  { stdout, stderr }: Pick<NodeJS.Process, "stdout" | "stderr">,
  allowsColours: boolean,
): Terminal {
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    isInteractive: stdout.isTTY,
    hasColours: stdout.isTTY && allowsColours,
    columns: stdout.isTTY ? stdout.columns : undefined,
  };
}

/** 69 and 78 are EX_UNAVAILABLE and EX_CONFIG of sysexits.h; units list 78 in RestartPreventExitStatus=. */
export const EXIT = { ok: 0, failure: 1, unreachable: 69, config: 78 } as const;

export const EXIT_CODES_HELP = `
Exit codes: 0 done, 1 failed or refused, 69 agent not reachable, or a controller's bus is somebody else's,
70 internal error, 78 configuration or documents unusable.`;

export type Palette = ReturnType<typeof picocolors.createColors>;

export const paletteOf = (terminal: Terminal): Palette => picocolors.createColors(terminal.hasColours);

/** Status words stay readable without colour: the word itself is the message. */
export function statusPaint(palette: Palette, status: string): (text: string) => string {
  switch (status) {
    case "ACTIVE":
      return palette.green;
    case "DOWN":
      return palette.yellow;
    case "ERROR":
      return palette.red;
    default:
      return palette.dim;
  }
}
