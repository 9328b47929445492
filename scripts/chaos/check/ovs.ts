// Attachment `ovs`: a VPN namespace, whose links are ports of Open vSwitch's integration bridge. The router is OVN's, and has no
// namespace.
import { networkFinding, type Link } from "./kernel.ts";
import type { PlaceCheck } from "./places.ts";
import { runJson } from "./run.ts";
import type { Subject } from "./subject.ts";
import { checkVpnGuard, checkVpnNamespace } from "./vpn-namespace.ts";

type Port = { readonly name: string; readonly number: number; readonly ids: ReadonlyMap<string, string> };

export const ovs: PlaceCheck = {
  namespaceOf: (id) => `qvpn-${id}`,
  isOwnNamespace: true,
  bridgePorts: 0,
  checkNetwork: async (wanted, _, subject) => {
    const [{ problems, links }, ports] = await Promise.all([
      checkVpnNamespace(wanted, subject.espBackEnd),
      readPorts(subject),
    ]);
    const found = [links.outside, links.inside].flatMap((link) =>
      link === undefined ? [] : portProblems(link, ports),
    );
    return [...problems, ...found].map((text) => networkFinding(wanted.id, text));
  },
  checkGuard: checkVpnGuard,
  checkLeft: async ({ id }, subject) => {
    const left = (await readPorts(subject)).filter(({ name, ids }) => {
      const router = ids.get("swanherd-router");
      return router === id || (router === undefined && /^h[gr]/.test(name));
    });
    return left.map(({ name }) => networkFinding(id, `port ${name} is left of it`));
  },
};

/** The other end of `vg…` is port `hg…`: both are called after the id that OVN knows the port by. */
function portProblems({ ifname, address }: Link, ports: readonly Port[]): readonly string[] {
  const name = ifname.replace(/^v/, "h");
  const port = ports.find((one) => one.name === name);
  if (port === undefined) return [`${name} is no port of the switch`];
  const id = String(port.ids.get("iface-id"));
  const mac = String(port.ids.get("attached-mac"));
  return [
    ...(port.number > 0 ? [] : [`the switch has not taken in ${name}`]),
    ...(id.startsWith(name.slice(2)) ? [] : [`port ${name} has iface-id ${id}`]),
    ...(mac === address ? [] : [`port ${name} has attached-mac ${mac}, not ${String(address)}`]),
  ];
}

/** `[["name", …], …]`, an optional value as an empty set if there is none (RFC 7047, 5.1). */
type Rows = { readonly data: readonly (readonly [string, unknown, readonly ["map", readonly [string, string][]]])[] };

/** None while the database does not answer. */
async function readPorts({ openVswitch }: Subject): Promise<readonly Port[]> {
  if (openVswitch === undefined) throw new Error("this place has a switch");
  const columns = "--columns=name,ofport,external_ids";
  const database = [`--db=${openVswitch.database}`, "--timeout=3"];
  const rows = await runJson("ovs-vsctl", ...database, "--format=json", columns, "list", "Interface");
  return ((rows ?? { data: [] }) as Rows).data.map(([name, number, [, ids]]) => ({
    name,
    number: typeof number === "number" ? number : 0,
    ids: new Map(ids),
  }));
}
