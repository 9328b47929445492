// What is left when nothing is left to do: exactly what is wanted, told without asking the plan.
import { encodeMarker, isMarkerId, decodeMarker, peerOfSecretId } from "../../../src/core/fingerprint.ts";
import type { RouterId } from "../../../src/core/ids.ts";
import type { DesiredRouter, Tunnel } from "../../../src/core/model.ts";
import { isPeerName, namespaceName, ownerAlias } from "../../../src/core/names.ts";
import {
  AGENT_NAMESPACE,
  CHARON_PREFERENCE,
  networkConfig,
  isOurProtocol,
  ownPolicyKey,
  RULE_PREFERENCES,
} from "../../../src/core/network.ts";
import type { Peer } from "../../../src/core/peers.ts";
import { peerNameOf } from "../../../src/core/peers.ts";
import { ikeOf, ipsecOf, termsOf, type FakeCharon } from "../fake-ike.ts";
import type { ModelWorld } from "./world.ts";

const ALIAS = ownerAlias("gw-left");
type Tell = (what: string) => void;

/** Everything of both, and nothing else. */
function compare(what: string, held: readonly string[], wanted: readonly string[], tell: Tell): void {
  const missing = wanted.filter((one) => !held.includes(one));
  const extra = held.filter((one) => !wanted.includes(one));
  if (missing.length > 0) tell(`${what} missing: ${missing.join("; ")}`);
  if (extra.length > 0) tell(`${what} left over: ${extra.join("; ")}`);
  if (held.length !== new Set(held).size) tell(`${what} twice: ${held.join("; ")}`);
}

export function lookAtListed(world: ModelWorld, desired: DesiredRouter): void {
  const tell = (what: string): void => world.violate(`in the end, ${desired.id}: ${what}`);
  lookAtNetwork(world, desired, tell);
  lookAtCharon(world, desired, tell);
}

export function lookAtUnlisted(world: ModelWorld, router: RouterId): void {
  const tell = (what: string): void => world.violate(`in the end, removed ${router}: ${what}`);
  if (world.network.namespaces.has(namespaceName(router))) tell("the namespace is there");
  if (world.ike.isRunning(router)) tell("charon runs");
  if ((world.ike.files.get(router)?.size ?? 0) > 0) tell("there are files");
  const outside = world.network.namespaces.get(`qrouter-${router}`);
  if (outside?.routes.some(({ protocol }) => isOurProtocol(protocol)) === true) tell("there are routes of ours");
  if ([...(outside?.links.values() ?? [])].some(({ alias }) => alias === ALIAS)) tell("there are links of ours");
}

function lookAtNetwork(world: ModelWorld, desired: DesiredRouter, tell: Tell): void {
  if (desired.plumbing.kind !== "known") return;
  const config = networkConfig({
    router: desired,
    plumbing: desired.plumbing.value,
    attachment: { attachedBy: "bridge", bridge: "br-ex", routerNamespace: `qrouter-${desired.id}` },
    host: "gw-left",
    espBackEnd: world.espBackEnd,
  });
  const spaces = world.network.namespaces;
  const own = spaces.get(config.namespace);
  const outside = spaces.get(config.routerNamespace ?? "");
  if (own === undefined || outside === undefined) {
    tell("no namespace");
    return;
  }
  const isForeign = (link: string | undefined): boolean => link === FOREIGN_LINK || link === "lan";
  const address = (one: { link: string; address: string; prefixLength: number }): string =>
    `${one.link} ${one.address}/${one.prefixLength}`;
  const both = [...own.addresses, ...outside.addresses].filter(({ link }) => !isForeign(link));
  compare("address", both.map(address), config.addresses.map(address), tell);
  const route = ({ namespace, table, destination, kind, via, link, metric }: (typeof config.routes)[number]): string =>
    [namespace, table, destination, kind, via, link, metric].join(" ");
  const routes = [...own.routes, ...outside.routes.filter(({ protocol }) => isOurProtocol(protocol))];
  compare("route", routes.filter(({ link }) => !isForeign(link)).map(route), config.routes.map(route), tell);
  const rule = (of: (typeof own.rules)[number]): string =>
    [of.namespace, of.family, of.preference, of.destination, of.inputLink, of.table, of.skipsDefault].join(" ");
  const rulesWanted = config.rules.map(rule);
  // charon's own are charon's to take along.
  const isLeftToCharon = (one: (typeof own.rules)[number]): boolean =>
    one.preference === CHARON_PREFERENCE && !rulesWanted.includes(rule(one));
  const rules = [
    ...own.rules.filter((one) => RULE_PREFERENCES.includes(one.preference) && !isLeftToCharon(one)),
    ...outside.rules.filter(({ preference }) => preference !== 0),
  ];
  compare("rule", rules.map(rule), rulesWanted, tell);
  for (const { namespace, name, value } of config.sysctls) {
    if (spaces.get(namespace)?.sysctls.get(name) !== value) tell(`sysctl ${name} of ${namespace} is not ${value}`);
  }
  compare("policy", own.policies.map(ownPolicyKey), (config.policies ?? []).map(ownPolicyKey), tell);
  const links = config.veths.flatMap(({ inner, outer, bridge }) => [
    { end: inner, peer: outer, bridge: undefined },
    { end: outer, peer: inner, bridge },
  ]);
  for (const { end, peer, bridge } of links) {
    const held = spaces.get(end.namespace)?.links.get(end.name);
    const isAsWanted =
      held?.up === true &&
      held.alias === ALIAS &&
      held.mtuBytes === end.mtuBytes &&
      held.macAddress === end.macAddress &&
      held.bridge === bridge &&
      held.peer?.name === peer.name &&
      held.peer.namespace === peer.namespace;
    if (!isAsWanted) tell(`link ${end.name} is ${JSON.stringify(held)}`);
  }
  const ours = [own, outside, spaces.get(AGENT_NAMESPACE)].flatMap((space) =>
    [...(space?.links.values() ?? [])].filter(({ isVeth, alias, name }) => isVeth && alias === ALIAS && name !== "lo"),
  );
  const names = ours.filter(({ namespace, peer }) => [namespace, peer?.namespace].includes(config.namespace));
  compare(
    "veth",
    names.map(({ name }) => name),
    links.map(({ end }) => end.name),
    tell,
  );

  const pairs = (of: readonly { localSubnets: readonly string[]; peerSubnets: readonly string[] }[]): string[] =>
    [...new Set(of.flatMap((one) => one.localSubnets.flatMap((l) => one.peerSubnets.map((p) => `${l} ${p}`))))].filter(
      (pair) => [0, 2].includes(pair.split(" ").filter((cidr) => cidr.includes(":")).length),
    ); // others make no rule
  if (!own.guardKnown || own.guard?.espBackEnd !== world.espBackEnd) tell("the guard is not known to be there");
  const wanted = pairs(desired.connections.map(({ guarded }) => guarded));
  // What lies within another pair makes no rule of its own.
  const isWithin = (pair: string): boolean =>
    ["0.0.0.0/0", "::/0"].some((all) => wanted.includes(`${pair.split(" ")[0] ?? ""} ${all}`));
  const apart = (all: readonly string[]): string[] => all.filter((pair) => pair.endsWith("/0") || !isWithin(pair));
  compare("guarded", apart(pairs(own.guard?.pairs ?? [])), apart(wanted), tell);
}

/** In the namespaces of our routers and not ours. */
export const FOREIGN_LINK = "tap0";
export const FOREIGN_CONN = "by-hand";
export const FOREIGN_SECRET = "ike-by-hand";

const suiteOf = ({ ike }: Tunnel): string => JSON.stringify([ike.version, ike.encryption, ike.dhGroup, ike.mode]);
const pairsOf = ({ localSubnets, peerSubnets }: Tunnel): string[] =>
  localSubnets.flatMap((local) => peerSubnets.map((peer) => `${local} ${peer}`));

function lookAtCharon(world: ModelWorld, desired: DesiredRouter, tell: Tell): void {
  const tunnels = desired.connections.flatMap((one) => (one.kind === "usable" ? [one.tunnel] : []));
  const files = world.ike.files.get(desired.id) ?? new Map<string, string>();
  if (tunnels.length === 0) {
    if (world.ike.isRunning(desired.id)) tell("charon runs for nobody");
    if (files.size > 0) tell("there are files of nobody");
    return;
  }
  if (!world.ike.isRunning(desired.id)) {
    tell("charon does not run");
    return;
  }
  const charon = world.ike.charon(desired.id);
  // A section says nothing of the secret: what was loaded may be older than that.
  const peers = [...charon.conns].flatMap(([name, conn]) => {
    if (!isPeerName(name) || conn === "foreign") return [];
    const { leader } = conn.peer;
    const psk = tunnels.find(({ id }) => id === leader.id)?.psk ?? leader.psk;
    return [{ ...conn, peer: { ...conn.peer, leader: { ...leader, psk } } }];
  });
  const members = peers.flatMap(({ peer }) => peer.members.map((member) => ({ peer, member })));
  for (const { member, peer } of members) {
    const wanted = tunnels.find(({ id }) => id === member.tunnel.id);
    if (wanted === undefined) tell(`${member.tunnel.id} is loaded and not wanted`);
    else if (textOf(wanted) !== textOf(member.tunnel)) tell(`${wanted.id} is loaded as it was`);
    else if (suiteOf(wanted) !== suiteOf(peer.leader)) tell(`${wanted.id} is loaded under another's proposal`);
  }
  const loaded = members.map(({ member }) => member.tunnel);
  for (const tunnel of tunnels.filter(({ id }) => !loaded.some((one) => one.id === id))) {
    const leader = peers.find(({ peer }) => peer.name === peerNameOf(tunnel))?.peer.leader;
    const differs =
      leader !== undefined && (leader.psk.reveal() !== tunnel.psk.reveal() || suiteOf(leader) !== suiteOf(tunnel));
    const taken = loaded.flatMap(pairsOf);
    if (!differs && !pairsOf(tunnel).some((pair) => taken.includes(pair))) tell(`${tunnel.id} is not loaded`);
  }
  const ids = loaded.map(({ id }) => id);
  compare("file", [...files.keys()], ids, tell);
  const markers = [...charon.secrets.keys()].filter(isMarkerId);
  compare(
    "marker",
    markers.map((id) => decodeMarker(id)?.connection ?? id),
    ids,
    tell,
  );
  for (const { peer, fingerprint } of peers) {
    if (fingerprint !== world.charonPlan.sectionFingerprint(peer)) tell(`${peer.name} is not loaded as wanted`);
    if (charon.shown.has(peer.name)) tell(`${peer.name} is shown otherwise`);
    const secrets = [...charon.secrets].filter(([id]) => peerOfSecretId(id) === peer.name);
    if (secrets.length !== 1 || secrets[0]?.[1] !== peer.leader.psk.reveal()) tell(`${peer.name} has another secret`);
    for (const member of peer.members) {
      const marker = markers.flatMap((id) => decodeMarker(id) ?? []).find((one) => one.connection === member.tunnel.id);
      if (marker === undefined) continue;
      const text = world.charonPlan.fileFingerprint(peer, member, marker);
      if (files.get(member.tunnel.id) !== text) tell(`the file of ${encodeMarker(marker)} has another text`);
    }
  }
  lookAtSas(
    charon,
    peers.map(({ peer }) => peer),
    world,
    tell,
  );
}

const mayInitiate = ({ initiator }: Tunnel): boolean => initiator === "bi-directional";
/** As far as charon is concerned. */
const textOf = (tunnel: Tunnel): string => JSON.stringify({ ...tunnel, mtuBytes: 0 });

function lookAtSas(
  charon: FakeCharon,
  peers: readonly Peer[],
  { mayHaveOldTerms, espBackEnd }: Pick<ModelWorld, "mayHaveOldTerms" | "espBackEnd">,
  tell: Tell,
): void {
  const carried = charon.ikeSas.flatMap(({ children }) => children.filter(({ isStranded }) => isStranded !== true));
  const routed = new Set(carried.flatMap(({ child }) => child.peerSubnets));
  const wanted = new Set(
    peers.flatMap(({ members }) => members.flatMap((one) => one.children.map(({ name }) => name))),
  );
  for (const sa of charon.ikeSas.filter(({ peer }) => isPeerName(peer))) {
    const peer = peers.find(({ name }) => name === sa.peer);
    if (peer === undefined) {
      tell(`an IKE SA of ${sa.peer}, which nobody wants`);
      continue;
    }
    const { leader } = peer;
    if (sa.state !== "established") tell(`an IKE SA is ${sa.state}`);
    if (sa.psk !== leader.psk.reveal()) tell(`an IKE SA with another secret`);
    if (sa.ike !== ikeOf(leader)) tell(`an IKE SA with another proposal`);
    // A side that must not initiate keeps the SAs that it has.
    if (mayInitiate(leader) && sa.values !== undefined) tell(`an IKE SA of ${sa.peer} is otherwise`);
    // Nor can a connection be asked for anew that only the peer may ask for.
    const isPeersToReplace = peer.members.some(
      ({ tunnel, children }) =>
        !mayInitiate(tunnel) && children.some(({ name }) => sa.children.some((child) => child.name === name)),
    );
    const isToReplace = mayInitiate(leader) && !isPeersToReplace && !mayHaveOldTerms;
    if (isToReplace && sa.terms !== termsOf(peer)) tell(`an IKE SA on other terms`);
    for (const { name, state, child, isStranded } of sa.children) {
      if (!wanted.has(name)) tell(`a CHILD SA ${name}, which nobody wants`);
      // In userland it may have the routes of another one to the same subnets.
      const isLost = espBackEnd === "kernel" || child.peerSubnets.some((subnet) => !routed.has(subnet));
      if (isStranded === true && state === "installed" && isLost) tell(`a CHILD SA ${name} that nothing carries`);
    }
  }
  for (const { name: peerName, members } of peers) {
    const sas = charon.ikeSas.filter(({ peer }) => peer === peerName).flatMap((sa) => sa.children);
    for (const { tunnel, children } of members) {
      for (const child of children) {
        // charon keeps the old one of a pair as long as it may live.
        const found = sas.filter(({ name, state }) => name === child.name && state !== "rekeyed");
        if (mayInitiate(tunnel) && found.length !== 1) tell(`${found.length} CHILD SAs of ${child.name}`);
        for (const sa of found) {
          if (mayInitiate(tunnel) && sa.values !== undefined) tell(`a CHILD SA of ${child.name} is otherwise`);
          if (JSON.stringify(sa.child) !== JSON.stringify(child))
            tell(`a CHILD SA of ${child.name} with other selectors`);
          if (sa.ipsec !== ipsecOf(tunnel)) tell(`a CHILD SA of ${child.name} with another proposal`);
        }
      }
    }
  }
}
