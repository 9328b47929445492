// One run of nft for one change: a ruleset goes into a namespace as one transaction. It decides nothing about rules.
import { closeSync, writeFileSync } from "node:fs";
import { execa, ExecaError } from "execa";
import koffi from "koffi";
import { UnavailableError } from "../../core/errors.ts";
import { guardRuleset, noGuardRuleset, type Guard } from "../../core/guard.ts";

const TIMEOUT_MS = 10_000;
const MFD_CLOEXEC = 1;

let create: ((name: string, flags: number) => number) | undefined;

/**
 * nft opens `-` as /dev/stdin, which for the socket that Node gives a child is ENXIO; so it reads a file in memory of
 * ours. An argument would end at 128 KiB (MAX_ARG_STRLEN).
 */
function openInMemory(text: string): number {
  create ??= koffi.load("libc.so.6").func("int memfd_create(const char *name, unsigned int flags)") as unknown as (
    name: string,
    flags: number,
  ) => number;
  const fd = create("ruleset", MFD_CLOEXEC);
  if (fd < 0) throw new UnavailableError("NFT_FAILED", "no memory for a ruleset");
  writeFileSync(fd, text);
  return fd;
}

/**
 * nft works in the namespace of its own process: nsenter (util-linux) enters it, so that this process never starts
 * another while it is elsewhere itself.
 */
export async function applyGuardByNft(
  namespacePath: string,
  guard: Guard | undefined,
  signal: AbortSignal,
): Promise<void> {
  const ruleset = openInMemory(JSON.stringify(guard === undefined ? noGuardRuleset : guardRuleset(guard)));
  try {
    await execa("nsenter", [`--net=${namespacePath}`, "nft", "-j", "-f", `/proc/${process.pid}/fd/${ruleset}`], {
      stdin: "ignore",
      cancelSignal: signal,
      timeout: TIMEOUT_MS,
    });
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    const { stderr, shortMessage }: { readonly stderr: unknown; readonly shortMessage: string } = error;
    const detail = typeof stderr === "string" && stderr !== "" ? stderr.trim() : shortMessage;
    throw new UnavailableError("NFT_FAILED", `nft refused the guard of ${namespacePath}: ${detail}`, { cause: error });
  } finally {
    closeSync(ruleset);
  }
}
