// Desired against written: the swanctl files of a router, one a connection that is on.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { Finding } from "./subject.ts";
import { isTree, listAt, parseConf, subtrees, textAt, treeAt, type Tree } from "./tree.ts";
import type { WantedConnection, WantedRouter } from "./wanted.ts";
import { espProposal, ikeProposal } from "./words.ts";

/** `hold` means a trap; where charon's traps do nothing, as in userland, the agent initiates, and it is `clear`. */
const DPD_ACTIONS: Readonly<Record<string, readonly string[]>> = {
  hold: ["trap", "clear"],
  clear: ["clear"],
  restart: ["restart"],
};

export function checkWritten(router: WantedRouter, runDirectory: string): readonly Finding[] {
  const directory = path.join(runDirectory, `qvpn-${router.id}`, "swanctl/conf.d");
  const files = namesIn(directory);
  const enabled = router.connections.filter(({ isEnabled }) => isEnabled);
  const expected = new Set(enabled.map(({ id }) => `${id}.conf`));
  const surplus = files
    .filter((name) => !expected.has(name))
    .map((name): Finding => ({ invariant: "written", about: router.id, text: `${name} is written, unwanted` }));
  return [
    ...surplus,
    ...enabled.flatMap((connection) => checkFile(connection, path.join(directory, `${connection.id}.conf`))),
  ];
}

export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // it is not there
  }
}

function checkFile(connection: WantedConnection, file: string): readonly Finding[] {
  const finding = (text: string): Finding => ({ invariant: "written", about: connection.id, text });
  let tree: Tree;
  try {
    tree = parseConf(readFileSync(file, "utf8"));
  } catch (error) {
    return [finding(`its file: ${String(error)}`)];
  }
  const [section, ...others] = subtrees(treeAt(tree, "connections"));
  if (section === undefined || others.length > 0) return [finding("its file has not one connection")];
  const differences = [
    ...compare(section[1], sectionOf(connection), ""),
    ...compareChildren(connection, treeAt(section[1], "children")),
    ...compareSecret(connection, treeAt(tree, "secrets")),
  ];
  return differences.map(finding);
}

const seconds = (value: number): string => `${value}s`;
const soft = (lifetime: number): number => Math.floor(lifetime * 0.9);

/** What is written of a connection, as far as documents say it. */
const sectionOf = (of: WantedConnection): Tree => ({
  version: of.version === "v1" ? "1" : "2",
  local_addrs: of.localAddress,
  remote_addrs: of.peerAddress,
  proposals: ikeProposal(of.ike),
  rekey_time: seconds(soft(of.ikeLifetime)),
  over_time: seconds(of.ikeLifetime - soft(of.ikeLifetime)),
  dpd_delay: seconds(of.dpd.interval),
  ...(of.version === "v1" ? { dpd_timeout: seconds(of.dpd.timeout) } : {}),
  local: { auth: "psk", id: of.localAddress },
  remote: { auth: "psk", id: of.peerAddress },
});

const childOf = (of: WantedConnection): Tree => ({
  mode: "tunnel",
  esp_proposals: espProposal(of.esp),
  life_time: seconds(of.espLifetime),
  rekey_time: seconds(soft(of.espLifetime)),
});

/** Everything that is expected is there; what is there beside it is the program's own affair. */
function compare(is: Tree, expected: Tree, where: string): readonly string[] {
  return Object.entries(expected).flatMap(([key, value]) => {
    if (isTree(value)) return compare(treeAt(is, key), value, `${where}${key}.`);
    return textAt(is, key) === value ? [] : [`${where}${key} is ${String(textAt(is, key))}, not ${String(value)}`];
  });
}

/** The pairs of subnets that one child each carries: IKEv1 has one pair a child, IKEv2 all in one. */
export const childSelectors = (of: WantedConnection): readonly string[] =>
  of.version === "v2"
    ? [selectorsText(of.localSubnets, of.peerSubnets)]
    : of.localSubnets.flatMap((local) => of.peerSubnets.map((peer) => selectorsText([local], [peer])));

export const selectorsText = (local: readonly string[], peer: readonly string[]): string =>
  `${[...local].sort().join(" ")} = ${[...peer].sort().join(" ")}`;

function compareChildren(connection: WantedConnection, children: Tree): readonly string[] {
  const written = subtrees(children);
  const are = written.map(([, child]) => selectorsText(listAt(child, "local_ts"), listAt(child, "remote_ts"))).sort();
  const expected = [...childSelectors(connection)].sort();
  return [
    ...(are.join("; ") === expected.join("; ") ? [] : [`children are ${are.join("; ")}, not ${expected.join("; ")}`]),
    ...written.flatMap(([name, child]) => [
      ...compare(child, childOf(connection), `${name}.`),
      ...dpdProblems(textAt(child, "dpd_action"), DPD_ACTIONS[connection.dpd.action]),
    ]),
  ];
}

export const dpdProblems = (is: string | undefined, allowed: readonly string[] | undefined): readonly string[] =>
  is !== undefined && allowed?.includes(is) === true ? [] : [`dpd_action is ${String(is)}, not ${String(allowed)}`];

function compareSecret(connection: WantedConnection, secrets: Tree): readonly string[] {
  const keys = subtrees(secrets).filter(([name]) => name.startsWith("ike-"));
  const values = keys.map(([, secret]) => decoded(textAt(secret, "secret") ?? ""));
  if (values.length === 1 && values[0] === connection.psk) return [];
  return [`${String(values.length)} keys are written, and not just the wanted one`];
}

const decoded = (secret: string): string =>
  secret.startsWith("0s") ? Buffer.from(secret.slice(2), "base64").toString() : secret;
