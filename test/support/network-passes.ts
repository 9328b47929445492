// Passes over a fake network: look, plan, apply.
import type { NetworkConfig } from "../../src/core/network.ts";
import { planNetwork, type NetworkStep } from "../../src/core/network-plan.ts";
import type { FakeNetwork } from "./fake-network.ts";

const never = new AbortController().signal;

export async function pass(network: FakeNetwork, of: NetworkConfig): Promise<readonly NetworkStep[]> {
  const steps = planNetwork(of, await network.observe(of, never));
  for (const step of steps) await network.apply(step, never);
  return steps;
}

/** A pass for each, of which each may end at a step that fails. */
export async function failingPasses(
  network: FakeNetwork,
  before: NetworkConfig,
  after: NetworkConfig,
  failAt: number,
): Promise<void> {
  network.stepsUntilFailure = failAt;
  await pass(network, before).catch(() => undefined);
  network.stepsUntilFailure = failAt % 13;
  await pass(network, after).catch(() => undefined);
  network.stepsUntilFailure = undefined;
}
