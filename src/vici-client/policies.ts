// Policies without an SA: traps that ask for one, and shunts that pass or drop. install, uninstall, list-policies.
import { MalformedMessageError } from "./errors.ts";
import { readInteger, readList, readText, requireText, sectionsOf } from "./fields.ts";
import type { Section } from "./message.ts";
import { collect, printable, run, yesOrAbsent } from "./run.ts";
import type { CommandOptions, ViciRequester } from "./session.ts";

export type PolicyTarget = {
  readonly child: string;
  /** Without it the first connection with such a child is meant. */
  readonly ike?: string;
};

/**
 * Refused when there is no such child and when the back end cannot. kernel-libipsec accepts every kind and does none of
 * them: all that comes of it is a route into its TUN device, where packets without an SA end. In 5.9.8 it refuses where it
 * finds no address for that route, that is none inside the local selector.
 */
export async function install(vici: ViciRequester, target: PolicyTarget, options?: CommandOptions): Promise<void> {
  await run(vici, "install", targetArgs(target), options);
}

/** Refused when it is not installed. SAs that a trap brought up stay. */
export async function uninstall(vici: ViciRequester, target: PolicyTarget, options?: CommandOptions): Promise<void> {
  await run(vici, "uninstall", targetArgs(target), options);
}

const targetArgs = ({ child, ike }: PolicyTarget) => ({ child: printable("child", child), ike: printable("ike", ike) });

export type Policy =
  | (Selectors & {
      readonly kind: "trap";
      /** Of the connection. */
      readonly ike: string;
      /** TUNNEL, TRANSPORT, TRANSPORT_PROXY, BEET, …: of the SA it asks for. */
      readonly mode: string;
      /** From 6.0.2 on; also that of the SAs it brings up. */
      readonly reqId: number | undefined;
    })
  | (Selectors & {
      readonly kind: "pass" | "drop";
      /** The connection, or what another plugin calls itself (bypass-lan); undefined: none. */
      readonly ike: string | undefined;
    });

type Selectors = {
  /** Of the child's configuration. */
  readonly child: string;
  /** SELinux label in hex, if it has one. */
  readonly label: string | undefined;
  readonly localTs: readonly string[];
  readonly remoteTs: readonly string[];
};

export type PolicyFilter = {
  /** All unless given; with none charon lists nothing. */
  readonly kinds?: readonly Policy["kind"][];
  readonly child?: string;
  readonly ike?: string;
};

export async function listPolicies(
  vici: ViciRequester,
  filter: PolicyFilter = {},
  options?: CommandOptions,
): Promise<readonly Policy[]> {
  const { kinds = ["trap", "pass", "drop"], child, ike } = filter;
  const args = {
    trap: yesOrAbsent(kinds.includes("trap")),
    pass: yesOrAbsent(kinds.includes("pass")),
    drop: yesOrAbsent(kinds.includes("drop")),
    child: printable("child", child),
    ike: printable("ike", ike),
  };
  return (await collect(vici, "list-policies", "list-policy", args, decodePolicies, options)).flat();
}

/** A list-policy event; charon puts one policy into each. */
export function decodePolicies(message: Section): readonly Policy[] {
  return sectionsOf(message).map(([, section]) => decodePolicy(section));
}

function decodePolicy(section: Section): Policy {
  const mode = requireText(section, "mode");
  const selectors: Selectors = {
    child: requireText(section, "child"),
    label: readText(section, "label"),
    localTs: readList(section, "local-ts"),
    remoteTs: readList(section, "remote-ts"),
  };
  if (mode === "PASS" || mode === "DROP") {
    return { ...selectors, kind: mode === "PASS" ? "pass" : "drop", ike: readText(section, "ike") };
  }
  const ike = readText(section, "ike");
  if (ike === undefined) throw new MalformedMessageError(`trap policy ${selectors.child} without a connection`);
  return { ...selectors, kind: "trap", ike, mode, reqId: readInteger(section, "reqid") };
}
