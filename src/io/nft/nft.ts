// One run of nft for one change: a ruleset goes into a namespace as one transaction. It decides nothing about rules.
import { execa, ExecaError } from "execa";
import { UnavailableError } from "../../core/errors.ts";
import { guardRuleset, type Guard } from "../../core/guard.ts";

const TIMEOUT_MS = 10_000;

/**
 * nft reads the namespace of its own process: nsenter (util-linux) enters it, so that this process never starts another
 * while it is elsewhere itself.
 */
export async function applyGuardByNft(namespacePath: string, guard: Guard, signal: AbortSignal): Promise<void> {
  try {
    await execa("nsenter", [`--net=${namespacePath}`, "nft", "-j", "-f", "-"], {
      input: JSON.stringify(guardRuleset(guard)),
      cancelSignal: signal,
      timeout: TIMEOUT_MS,
    });
  } catch (error) {
    if (!(error instanceof ExecaError)) throw error;
    const detail = error.stderr === undefined || error.stderr === "" ? error.shortMessage : String(error.stderr);
    throw new UnavailableError("NFT_FAILED", `nft refused the guard of ${namespacePath}: ${detail.trim()}`, {
      cause: error,
    });
  }
}
