// ESP in the kernel: what it has of IPsec against what charon says, and the policies that block behind charon's.
import { missing, unique } from "./kernel.ts";
import { guardedPairs, pairText } from "./guard.ts";
import { askCharon } from "./loaded.ts";
import { run } from "./run.ts";
import type { Finding } from "./subject.ts";
import { listAt, subtrees, textAt, treeAt, type Tree } from "./tree.ts";
import type { WantedRouter } from "./wanted.ts";

/** `10.1.0.0/24 > 10.2.0.0/24 out`, with what of it nobody else could have made. */
type Policies = { readonly ofCharon: readonly string[]; readonly others: readonly string[] };

/** The program's: the last of all, and apart from charon's with the same selector by their mark. */
const blockText = (pair: string): string => `${pair} out, block, priority 2147483647, mark 0/0x80000000`;

export async function checkIpsec(router: WantedRouter, namespace: string): Promise<readonly Finding[]> {
  const [policies, spis, sas] = await Promise.all([
    readPolicies(namespace),
    readSpis(namespace),
    askCharon(router.id, "list-sas"),
  ]);
  // That the namespace is not there is told by who looks at the network.
  if (policies === undefined || spis === undefined) return [];
  const children = (sas ?? []).flatMap(([, ike]) => subtrees(treeAt(ike, "child-sas")).map(([, child]) => child));
  const installed = children.filter((child) => textAt(child, "state") === "INSTALLED");
  const pairs = guardedPairs(router);
  return [
    ...missing(unique(pairs.map(({ out }) => blockText(out))), policies.others, namespace),
    ...unique(installed.flatMap(policiesOf))
      .filter((one) => !policies.ofCharon.includes(one))
      .map((one) => `no policy ${one} in ${namespace}`),
    ...surplusPolicies(router, installed, policies.ofCharon),
    ...installed
      .flatMap(spisOf)
      .filter((spi) => !spis.includes(spi))
      .map((spi) => `no state with SPI ${spi} in ${namespace}`),
    ...spis
      .filter((spi) => !children.flatMap(spisOf).includes(spi))
      .map((spi) => `a state with SPI ${spi} is left in ${namespace}, which charon does not know`),
  ].map((text): Finding => ({ invariant: "ipsec", about: router.id, text }));
}

/** In a namespace that is another's, when the router is not wanted any more. */
export async function checkNoIpsec(namespace: string): Promise<readonly string[]> {
  const [policies, spis] = await Promise.all([readPolicies(namespace), readSpis(namespace)]);
  return [
    ...(policies?.others ?? []).map((one) => `policy ${one} is left of it`),
    ...(policies?.ofCharon ?? []).map((one) => `policy ${one} is left of it`),
    ...(spis ?? []).map((spi) => `a state with SPI ${spi} is left of it`),
  ];
}

const spisOf = (child: Tree): readonly string[] =>
  ["spi-in", "spi-out"].flatMap((key) => {
    const spi = textAt(child, key);
    return spi === undefined ? [] : [spi.padStart(8, "0")];
  });

/** charon installs three for each pair of selectors. */
function policiesOf(child: Tree): readonly string[] {
  const peers = listAt(child, "remote-ts");
  return listAt(child, "local-ts").flatMap((local) =>
    peers.flatMap((peer) => threeOf(pairText(local, peer), pairText(peer, local))),
  );
}

const threeOf = (out: string, back: string): readonly string[] => [`${out} out`, `${back} in`, `${back} fwd`];

/** A connection that is on has a trap, which asks charon for an SA, as long as it has no SA. */
function surplusPolicies(router: WantedRouter, installed: readonly Tree[], are: readonly string[]): readonly string[] {
  const connections = router.connections.filter(({ isEnabled }) => isEnabled);
  const trapped = guardedPairs({ ...router, connections }).flatMap(({ out, in: back }) => threeOf(out, back));
  const may = new Set([...trapped, ...installed.flatMap(policiesOf)]);
  return are.filter((one) => !may.has(one)).map((one) => `policy ${one} is there, and no connection for it`);
}

/** The program lets neighbours find each other, whatever charon is asked for. */
const NEIGHBOUR_DISCOVERY = /^src ::\/0 dst ::\/0 proto ipv6-icmp type 13[56] /;

/** `ip` has no JSON for states and policies: each begins where a line is not indented. */
export const objectsOf = (text: string): readonly string[] =>
  text.split(/\n(?=\S)/).filter((object) => object.trim() !== "");

async function readObjects(namespace: string, ...what: readonly string[]): Promise<readonly string[] | undefined> {
  const text = await run("ip", "-n", namespace, "xfrm", ...what);
  return text === undefined ? undefined : objectsOf(text);
}

async function readPolicies(namespace: string): Promise<Policies | undefined> {
  // Those of sockets are charon's own, by which IKE goes past all others.
  const objects = await readObjects(namespace, "policy", "list", "nosock");
  const all = objects
    ?.filter((object) => !NEIGHBOUR_DISCOVERY.test(object))
    .map((object) => {
      const [, from = "", to = ""] = /^src (\S+) dst (\S+)/.exec(object) ?? [];
      const [, direction = ""] = /\bdir (\S+)/.exec(object) ?? [];
      const [, action] = /\baction (\S+)/.exec(object) ?? [];
      const [, priority = "?"] = /\bpriority (\d+)/.exec(object) ?? [];
      const [, mark] = /\bmark (\S+)/.exec(object) ?? [];
      const base = `${pairText(from, to)} ${direction}`;
      const isOfCharon = action === undefined && mark === undefined && object.includes("tmpl");
      return isOfCharon
        ? { isOfCharon, text: base }
        : {
            isOfCharon,
            text: `${base}, ${action ?? "allow"}, priority ${priority}${mark === undefined ? "" : `, mark ${mark}`}`,
          };
    });
  if (all === undefined) return undefined;
  return {
    ofCharon: all.filter(({ isOfCharon }) => isOfCharon).map(({ text }) => text),
    others: all.filter(({ isOfCharon }) => !isOfCharon).map(({ text }) => text),
  };
}

/** Of states with keys: what is only asked for, or set aside for an exchange under way, has none. */
async function readSpis(namespace: string): Promise<readonly string[] | undefined> {
  const states = await readObjects(namespace, "state", "list", "nokeys");
  return states
    ?.filter((object) => /^\s+(enc|aead|auth|auth-trunc) /m.test(object))
    .flatMap((object) => /\bspi 0x([0-9a-f]{8})/.exec(object)?.[1] ?? []);
}
