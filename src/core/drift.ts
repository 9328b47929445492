// What somebody else changed, in words: what a pass finds to repair in a router that was whole before, while nothing else
// was asked of it.
import type { CharonStep } from "./charon-step.ts";
import type { Finding } from "./finding.ts";
import { peerOfSecretId } from "./fingerprint.ts";
import { AGENT_NAMESPACE, ownPolicyKey, type OwnPolicy, type Route, type Rule } from "./network.ts";
import { linkOfSysctl, type LinkChange, type NetworkStep } from "./network-plan.ts";
import type { CharonPlan } from "./plan.ts";

const inNamespace = (namespace: string): string => (namespace === AGENT_NAMESPACE ? "" : ` in ${namespace}`);

function linkWords(change: LinkChange): string {
  if ("macAddress" in change) return "has another MAC address";
  if ("mtuBytes" in change) return "has another MTU";
  if ("offloadsChecksums" in change) return "leaves checksums to a switch that computes none";
  return "alias" in change ? "has another alias" : "is down";
}

const routeWords = ({ kind, destination, via, link, namespace }: Route): string =>
  [
    `route ${kind === "unicast" ? "" : `${kind} `}${destination}`,
    via === undefined ? "" : ` via ${via}`,
    link === undefined ? "" : ` dev ${link}`,
    inNamespace(namespace),
  ].join("");

const ruleWords = ({ preference, family, source, table, namespace }: Rule): string =>
  `IPv${family} rule ${preference} (${source === undefined ? "" : `from ${source} `}lookup ${table})${inNamespace(namespace)}`;

const policyWords = (policy: OwnPolicy): string =>
  `IPsec policy ${ownPolicyKey(policy)}${inNamespace(policy.namespace)}`;

/** What a step of the network would repair. */
function ofNetworkStep(step: NetworkStep): Finding {
  switch (step.kind) {
    case "createNamespace":
      return { kind: "namespace", what: `namespace ${step.namespace} is missing` };
    case "deleteNamespace":
      return { kind: "namespace", what: `namespace ${step.namespace} is not wanted` };
    case "applyGuard":
      return { kind: "guard", what: `packet filter${inNamespace(step.namespace)} is missing or changed` };
    case "removeGuard":
      return { kind: "guard", what: `packet filter${inNamespace(step.namespace)} is not wanted` };
    case "flushIpsec":
    case "removeIpsec":
      return { kind: "policy", what: `IPsec states and policies${inNamespace(step.namespace)} are not wanted` };
    case "setSysctl": {
      const { name, value, namespace } = step.sysctl;
      return { kind: "sysctl", what: `${name}${inNamespace(namespace)} is not ${value}` };
    }
    case "createVeth": {
      const ends = [step.veth.inner, step.veth.outer].map(({ name, namespace }) => `${name}${inNamespace(namespace)}`);
      return { kind: "link", what: `veth pair ${ends.join(" - ")} is missing, or an end of it` };
    }
    case "setLink":
      return { kind: "link", what: `link ${step.link}${inNamespace(step.namespace)} ${linkWords(step.change)}` };
    case "attachToBridge":
      return { kind: "link", what: `link ${step.link} is not a port of bridge ${step.bridge}` };
    case "plugPort":
      return { kind: "port", what: `port ${step.port.name} of ${step.port.bridge} is missing or changed` };
    case "unplugPort":
      return { kind: "port", what: `port ${step.name} of ${step.bridge} is in the way` };
    case "keepNeighbour":
      return { kind: "neighbour", what: `neighbour ${step.address} on ${step.link} is not kept` };
    case "deleteLink":
      return { kind: "link", what: `link ${step.link}${inNamespace(step.namespace)} is in the way` };
    case "addAddress":
    case "removeAddress": {
      const { address, prefixLength, link, namespace } = step.address;
      const state = step.kind === "addAddress" ? "missing" : "not wanted";
      return {
        kind: "address",
        what: `address ${address}/${String(prefixLength)} on ${link}${inNamespace(namespace)} is ${state}`,
      };
    }
    case "addRoute":
      return { kind: "route", what: `${routeWords(step.route)} is missing` };
    case "removeRoute":
      return { kind: "route", what: `${routeWords(step.route)} is not wanted` };
    case "addRule":
      return { kind: "rule", what: `${ruleWords(step.rule)} is missing` };
    case "removeRule":
      return { kind: "rule", what: `${ruleWords(step.rule)} is not wanted` };
    case "addPolicy":
      return { kind: "policy", what: `${policyWords(step.policy)} is missing` };
    case "removePolicy":
      return { kind: "policy", what: `${policyWords(step.policy)} is not wanted` };
    default:
      return step satisfies never;
  }
}

/** What a plan of the network would repair; what only follows from a missing namespace or link is left out. */
export function networkFindings(steps: readonly NetworkStep[]): readonly Finding[] {
  const made = steps.filter((step) => step.kind === "createNamespace");
  if (made.length > 0) return made.map(ofNetworkStep);
  const pairs = steps.flatMap((step) => (step.kind === "createVeth" ? [step.veth.inner, step.veth.outer] : []));
  const follows = (step: NetworkStep): boolean =>
    step.kind !== "createVeth" &&
    pairs.some(({ namespace, name }) => {
      const on = placeOf(step);
      return on?.namespace === namespace && on.link === name;
    });
  return steps.filter((step) => !follows(step)).map(ofNetworkStep);
}

/** The link that a step is about. */
function placeOf(step: NetworkStep): { readonly namespace: string; readonly link: string | undefined } | undefined {
  switch (step.kind) {
    case "setLink":
    case "attachToBridge":
    case "keepNeighbour":
    case "deleteLink":
      return step;
    case "plugPort":
      return { namespace: AGENT_NAMESPACE, link: step.port.name };
    case "unplugPort":
      return { namespace: AGENT_NAMESPACE, link: step.name };
    case "addAddress":
    case "removeAddress":
      return step.address;
    case "addRoute":
    case "removeRoute":
      return step.route;
    case "setSysctl":
      return { namespace: step.sysctl.namespace, link: linkOfSysctl(step.sysctl) };
    default:
      return undefined;
  }
}

/** What a plan of a charon would repair in it. */
export const charonFindings = ({ groups, findings }: CharonPlan): readonly Finding[] => [
  ...groups.flatMap(({ steps }) => steps.flatMap((step) => ofCharonStep(step) ?? [])),
  ...findings,
];

/** What a step would repair in charon or in its files; undefined for what is no repair, as an attempt to negotiate. */
function ofCharonStep(step: CharonStep): Finding | undefined {
  switch (step.kind) {
    case "writeFile":
      return { kind: "file", what: `file of connection ${step.connection} is missing or changed` };
    case "removeFile":
      return { kind: "file", what: `file of connection ${step.connection} is not wanted` };
    case "loadSecret":
      return { kind: "secret", what: `pre-shared key of ${step.peer.name} is not loaded` };
    case "unloadSecret":
      return { kind: "secret", what: `a pre-shared key of ${peerOfSecretId(step.id) ?? "a peer"} is not wanted` };
    case "loadPeer": {
      // What is wrong is an IKE SA, and told.
      if (step.isAnew === true) return undefined;
      const how = step.shown === undefined ? "is not loaded" : `is loaded otherwise: ${step.shown}`;
      return { kind: "config", what: `${step.peer.name} ${how}` };
    }
    case "unloadPeer":
      return { kind: "config", what: `${step.name} is not wanted` };
    case "commit":
      return { kind: "marker", what: `commit record of connection ${step.marker.connection} is missing` };
    case "unloadMarker":
      return { kind: "marker", what: "a commit record is not wanted" };
    case "terminateIke":
    case "terminateChild":
    case "beginUpdate":
    case "reauthenticate":
    case "initiate":
      return undefined;
    default:
      return step satisfies never;
  }
}
