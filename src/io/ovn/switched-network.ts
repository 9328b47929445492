// The core's Network where links are ports of Open vSwitch: the kernel's network, and the switch beside it.
import { UnavailableError } from "../../core/errors.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { RouterId } from "../../core/ids.ts";
import type { NetworkScope, ObservedNetwork } from "../../core/network.ts";
import type { NetworkStep } from "../../core/network-plan.ts";
import type { Network, NetworkChange } from "../../core/ports.ts";
import type { OpenVswitch } from "./switch.ts";

export class SwitchedNetwork implements Network {
  readonly #kernel: Network;
  readonly #switch: OpenVswitch;

  constructor(kernel: Network, openVswitch: OpenVswitch) {
    this.#kernel = kernel;
    this.#switch = openVswitch;
  }

  async observe(scope: NetworkScope, signal: AbortSignal): Promise<ObservedNetwork> {
    const observed = await this.#kernel.observe(scope, signal);
    const seen = this.#switch.observe(scope);
    return seen === undefined ? observed : { ...observed, switch: seen };
  }

  observeDataPlane(...asked: Parameters<Network["observeDataPlane"]>): ReturnType<Network["observeDataPlane"]> {
    return this.#kernel.observeDataPlane(...asked);
  }

  apply(step: NetworkStep, signal: AbortSignal): Promise<void> {
    switch (step.kind) {
      case "plugPort":
        return this.#switch.plug(step.port, signal);
      case "unplugPort":
        return this.#switch.unplug(step.name, step.bridge, step.isAwaited, signal);
      default:
        return this.#kernel.apply(step, signal);
    }
  }

  /**
   * A killed agent, or somebody who deletes the namespace, may leave nothing but ports. While they cannot be read nobody
   * loses anything: the next list asks again.
   */
  async listOwned(alias: string, signal: AbortSignal): Promise<readonly RouterId[]> {
    const inKernel = await this.#kernel.listOwned(alias, signal);
    try {
      return [...new Set([...inKernel, ...(await this.#switch.listOwned(alias, signal))])];
    } catch (error) {
      if (error instanceof UnavailableError) return inKernel;
      throw error;
    }
  }

  watch(scope: NetworkScope, espBackEnd: EspBackEnd, onChange: (what?: NetworkChange) => void): () => void {
    const stops = [this.#kernel.watch(scope, espBackEnd, onChange), this.#switch.watch(scope, onChange)];
    return () => {
      for (const stop of stops) stop();
    };
  }

  probeKernelEsp(): ReturnType<Network["probeKernelEsp"]> {
    return this.#kernel.probeKernelEsp();
  }

  close(): void {
    this.#kernel.close();
  }
}
