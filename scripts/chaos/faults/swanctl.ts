// Faults by an operator's own hand: swanctl on a charon that the agent keeps.
import { writeFileSync } from "node:fs";
import path from "node:path";
import { execa } from "execa";
import type { SiteRouter } from "../model.ts";
import type { Fault, Scene } from "./fault.ts";

const onCharon =
  (act: (router: SiteRouter, scene: Scene) => Promise<string | undefined>): Fault =>
  async (scene) => {
    const router = scene.random.pick(scene.world.model.routers);
    if (scene.world.agents[router.side].charon(router.id) === undefined) return undefined;
    if (!scene.claim(`charon ${router.number}`)) return undefined;
    // charon may end, or have nothing of the kind, in this moment.
    const text = await act(router, scene).catch(() => undefined);
    return text === undefined ? undefined : { text: `router ${router.number}: ${text}` };
  };

const swanctl = async (router: SiteRouter, ...args: readonly string[]): Promise<string> => {
  // Called so in every place.
  const uri = ["--uri", `unix:///run/charon.qvpn-${router.id}.vici`];
  return (await execa("swanctl", [...args, ...uri], { timeout: 5_000 })).stdout;
};

/** A file without anything: what is loaded and not in it goes. */
function nothing({ world }: Scene): string {
  const file = path.join(world.lab.directory, "nothing.conf");
  writeFileSync(file, "");
  return file;
}

export const unloadConns = onCharon(async (router, scene) => {
  await swanctl(router, "--load-conns", "--file", nothing(scene));
  return "all connections unloaded";
});

export const clearCreds = onCharon(async (router, scene) => {
  await swanctl(router, "--load-creds", "--clear", "--noprompt", "--file", nothing(scene));
  return "all secrets cleared";
});

export const terminate = onCharon(async (router, { random }) => {
  const sas = await swanctl(router, "--list-sas", "--raw");
  const names = [...sas.matchAll(/^list-sa event \{(\S+) /gm)].map(([, name = ""]) => name);
  if (names.length === 0) return undefined;
  const name = random.pick(names);
  await swanctl(router, "--terminate", "--ike", name, "--force", "--timeout", "1");
  return `${name} terminated`;
});
