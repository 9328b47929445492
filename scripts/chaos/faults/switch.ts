// Faults of Open vSwitch: ports that somebody deletes or calls otherwise, a daemon that ends, and a database that is away.
import type { OpenVswitch } from "../places/place.ts";
import type { SiteRouter } from "../model.ts";
import type { Applied, Fault, Scene } from "./fault.ts";

/** One that OVN knows nothing of. */
const NOBODY = "00000000-0000-4000-8000-000000000000";

const onSwitch =
  (act: (openVswitch: OpenVswitch, scene: Scene) => Promise<Applied | undefined>): Fault =>
  (scene) => {
    const { openVswitch } = scene.world.site;
    return openVswitch === undefined ? Promise.resolve(undefined) : act(openVswitch, scene);
  };

const onPort = (what: string, command: (name: string, bridge: string) => readonly string[]): Fault =>
  onSwitch((openVswitch, scene) => {
    const router = scene.random.pick(openVswitch.routers);
    const begins = scene.random.pick(["hg", "hr"]);
    // Who changes a port waits for the daemon.
    if (!scene.claim("switch") || !scene.claim(`network ${router.number}`)) return Promise.resolve(undefined);
    const name = portOf(openVswitch, router, begins);
    if (name === undefined) return Promise.resolve(undefined);
    openVswitch.vsctl(...command(name, openVswitch.bridge));
    return Promise.resolve({ text: `router ${router.number}: ${name} ${what}` });
  });

const portOf = ({ vsctl }: OpenVswitch, { id }: SiteRouter, begins: string): string | undefined =>
  vsctl("--bare", "--columns=name", "find", "Interface", `external_ids:swanherd-router=${id}`)
    .split("\n")
    .find((name) => name.startsWith(begins));

export const portDelete = onPort("deleted", (name, bridge) => ["--if-exists", "del-port", bridge, name]);
export const portRenamed = onPort("with another iface-id", (name) => [
  ...["--if-exists", "set", "Interface", name, `external_ids:iface-id=${NOBODY}`],
]);

/** Nothing that is plugged into it works until it is back, and OVN has told it what to do. */
const away = (
  what: string,
  end: (openVswitch: OpenVswitch) => Promise<void>,
  begin: (openVswitch: OpenVswitch) => Promise<void>,
): Fault =>
  onSwitch(async (openVswitch, scene) => {
    if (!scene.claim("switch")) return undefined;
    const resume = await scene.suspend(openVswitch.routers.map(({ id }) => id));
    await end(openVswitch);
    const lift = async (): Promise<void> => {
      await begin(openVswitch);
      await openVswitch.settled();
      resume();
    };
    return { text: what, holdMs: scene.random.whole(200, 8_000), lift };
  });

export const switchKill = away(
  "SIGKILL to ovs-vswitchd",
  (openVswitch) => openVswitch.killSwitch(),
  (openVswitch) => openVswitch.startSwitch(),
);
export const switchDatabase = away(
  "its database away",
  (openVswitch) => openVswitch.stopDatabase(),
  (openVswitch) => openVswitch.startDatabase(),
);
