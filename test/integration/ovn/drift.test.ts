// What somebody else changes with attachment `ovs`: ports and links are put back where OVN binds them.
import { test } from "vitest";
import { baseDocuments, connectionPair } from "../../../scripts/lab-documents.ts";
import { driftSceneAt, ip, linkOf, type DriftCase } from "../../support/drift-scene.ts";
import { hasOvn } from "../../support/ovn.ts";

async function registerTests(): Promise<void> {
  const scene = await driftSceneAt("ovs", {
    documents: (routers) => [
      ...baseDocuments(routers),
      ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
    ],
  });
  const { namespace, inNamespace, lab, espBackEnd } = scene;
  if (lab.site === undefined) throw new Error("this place has a switch");
  const { ovs, plugged } = lab.site;
  const inside = (start: string): string => linkOf(namespace, start);
  const port = (begins: "hg" | "hr"): string => plugged(begins)?.name ?? "?";
  const setId = (begins: "hg" | "hr", key: string, value: string): string =>
    ovs.vsctl("set", "Interface", port(begins), `external_ids:${key}="${value}"`);

  const ofUserland: readonly DriftCase[] = [
    ["a rule deleted", "rule", () => ip("-n", namespace, "rule", "delete", "preference", "100")],
  ];
  scene.areRepaired(
    [
      ["the external port deleted", "port", () => ovs.vsctl("del-port", ovs.bridge, port("hg"))],
      ["the transit port deleted", "port", () => ovs.vsctl("del-port", ovs.bridge, port("hr"))],
      ["another iface-id", "port", () => setId("hg", "iface-id", "00000000-0000-4000-8000-000000000000")],
      ["another attached-mac", "port", () => setId("hr", "attached-mac", "fa:16:3e:00:00:77")],
      ["the external veth deleted", "link", () => ip("-n", namespace, "link", "delete", inside("vg"))],
      ["the transit veth set down", "link", () => ip("-n", namespace, "link", "set", inside("vr"), "down")],
      ["the switch's end set down", "link", () => ip("link", "set", port("hr"), "down")],
      [
        "the switch's end moved away",
        "link",
        () => ip("link", "set", port("hg"), "netns", lab.world.internetNamespace),
      ],
      ["another MTU", "link", () => ip("-n", namespace, "link", "set", inside("vg"), "mtu", "1400")],
      [
        "the external address deleted",
        "address",
        () => ip("-n", namespace, "address", "delete", "203.0.113.10/24", "dev", inside("vg")),
      ],
      ["the default route deleted", "route", () => ip("-n", namespace, "route", "delete", "default")],
      ["the route to the hosts deleted", "route", () => ip("-n", namespace, "route", "delete", "10.1.0.0/24")],
      ...(espBackEnd === "userland" ? ofUserland : []),
      ["the namespace deleted", "namespace", () => ip("netns", "delete", namespace)],
      ...scene.byEvents,
    ],
    [
      ...scene.byTheNextPass,
      ["forwarding switched off", "sysctl", () => inNamespace("sysctl", "-qw", "net.ipv4.ip_forward=0")],
    ],
  );
}

if (hasOvn()) await registerTests();
else test.skip("there is no OVN here", () => undefined);
