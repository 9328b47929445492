// What the reconciler needs from outside, in the core's own words. Every call is idempotent unless it says otherwise.
import type { EspBackEnd } from "./guard.ts";
import type { RouterId } from "./ids.ts";
import type { NetworkScope, ObservedNetwork } from "./network.ts";
import type { NetworkStep } from "./network-plan.ts";

export interface Network {
  /** Changes nothing. A `NetworkConfig` is a scope; what its links and sysctls are is read where it names them. */
  observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork>;
  /** Succeeds when it is already so. */
  apply(step: NetworkStep, signal: AbortSignal): Promise<void>;
  /** Routers whose namespace has our name and a link in it our alias. */
  listOwned(alias: string, signal: AbortSignal): Promise<readonly RouterId[]>;
  /** Calls back for each change that may matter, ours included; many may come at once. Returns how to stop it. */
  watch(scope: NetworkScope, onChange: () => void): () => void;
  probeEspBackEnd(): Promise<EspBackEnd>;
  close(): void;
}
