// A plan of the network as text, one line a step.
import { AGENT_NAMESPACE, ownPolicyKey, type Route, type Rule } from "../../src/core/network.ts";
import type { NetworkStep } from "../../src/core/network-plan.ts";

export const printNetworkPlan = (steps: readonly NetworkStep[]): string => steps.map(printNetworkStep).join("\n");

const inNs = (namespace: string): string => (namespace === AGENT_NAMESPACE ? "here" : `in ${namespace}`);

function printNetworkStep(step: NetworkStep): string {
  switch (step.kind) {
    case "createNamespace":
    case "deleteNamespace":
    case "removeGuard":
      return `${step.kind} ${step.namespace}`;
    case "removeIpsec":
      return `${step.kind} ${step.namespace} ${step.entries.length}`;
    case "flushIpsec":
      return `${step.kind} ${step.namespace}${step.keepsBlocks ? " but our blocks" : ""}`;
    case "applyGuard": {
      const pairs = step.guard.pairs.map((pair) => `${pair.localSubnets.join(",")} <> ${pair.peerSubnets.join(",")}`);
      return `applyGuard ${inNs(step.namespace)} (${step.guard.espBackEnd}) ${pairs.join("; ")}`;
    }
    case "setSysctl":
      return `setSysctl ${step.sysctl.name}=${step.sysctl.value} ${inNs(step.sysctl.namespace)}`;
    case "createVeth": {
      const { inner, outer } = step.veth;
      const ends = [inner, outer].map((end) => `${end.name} ${end.macAddress} ${inNs(end.namespace)}`);
      return `createVeth ${ends.join(" - ")} mtu ${inner.mtuBytes}`;
    }
    case "setLink": {
      const change = Object.entries(step.change).map(([key, value]) => `${key}=${String(value)}`);
      return `setLink ${step.link} ${change.join(" ")} ${inNs(step.namespace)}`;
    }
    case "attachToBridge":
      return `attachToBridge ${step.link} to ${step.bridge}`;
    case "plugPort": {
      const { name, bridge, port, macAddress, router, owner } = step.port;
      return `plugPort ${name} into ${bridge} as ${port} ${macAddress} of ${owner} for ${router}`;
    }
    case "unplugPort":
      return `unplugPort ${step.name} from ${step.bridge}${step.isAwaited ? ", and waits until it has let go" : ""}`;
    case "keepNeighbour":
      return `keepNeighbour ${step.address} dev ${step.link} ${inNs(step.namespace)}`;
    case "deleteLink":
      return `deleteLink ${step.link} ${inNs(step.namespace)}`;
    case "addAddress":
    case "removeAddress": {
      const { address, prefixLength, link, namespace } = step.address;
      return `${step.kind} ${address}/${prefixLength} dev ${link} ${inNs(namespace)}`;
    }
    case "addRoute":
    case "removeRoute":
      return `${step.kind} ${printRoute(step.route)}`;
    case "addPolicy":
    case "removePolicy":
      return `${step.kind} ${ownPolicyKey(step.policy)} ${inNs(step.policy.namespace)}`;
    case "addRule":
    case "removeRule":
      return `${step.kind} ${printRule(step.rule)}`;
    default:
      return step satisfies never;
  }
}

function printRoute(route: Route): string {
  const words = [
    route.kind === "unicast" ? "" : route.kind,
    route.destination,
    route.via === undefined ? "" : `via ${route.via}`,
    route.link === undefined ? "" : `dev ${route.link}`,
    route.onlink ? "onlink" : "",
    `metric ${route.metric}`,
    `table ${route.table}`,
    inNs(route.namespace),
  ];
  return words.filter((word) => word !== "").join(" ");
}

function printRule(rule: Rule): string {
  const to = rule.destination === undefined ? "" : ` to ${rule.destination}`;
  const from = [
    rule.source === undefined ? "" : ` from ${rule.source}`,
    rule.inputLink === undefined ? "" : ` iif ${rule.inputLink}`,
  ].join("");
  const but = rule.skipsDefault ? " but its default" : "";
  return `${rule.preference}: IPv${rule.family}${to}${from} lookup ${rule.table}${but} ${inNs(rule.namespace)}`;
}
