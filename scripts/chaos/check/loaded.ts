// Desired against loaded: what charon lists as its configuration.
import { run } from "./run.ts";
import type { Finding } from "./subject.ts";
import { listAt, parseRaw, subtrees, textAt, treeAt, type Tree } from "./tree.ts";
import type { WantedConnection, WantedRouter } from "./wanted.ts";
import { childSelectors, dpdProblems, selectorsText } from "./written.ts";

// charon calls actions otherwise than its configuration does.
const DPD_ACTIONS: Readonly<Record<string, readonly string[]>> = {
  hold: ["trap", "none"],
  clear: ["none"],
  restart: ["start"],
};

export const socketOf = (routerId: string): string => `/run/charon.qvpn-${routerId}.vici`;

/** Sections by name; undefined: charon does not answer. */
export async function askCharon(
  routerId: string,
  what: "list-conns" | "list-sas",
): Promise<readonly (readonly [name: string, tree: Tree])[] | undefined> {
  const text = await run("swanctl", `--${what}`, "--raw", "--uri", `unix://${socketOf(routerId)}`);
  // One event each; a name may come more than once.
  return text === undefined ? undefined : parseRaw(text).flatMap(subtrees);
}

export async function checkLoaded(router: WantedRouter): Promise<readonly Finding[]> {
  const enabled = router.connections.filter(({ isEnabled }) => isEnabled);
  const sections = await askCharon(router.id, "list-conns");
  if (sections === undefined) {
    const finding: Finding = { invariant: "loaded", about: router.id, text: "charon does not answer" };
    return enabled.length === 0 ? [] : [finding];
  }
  const surplus = sections.flatMap(([, section]) =>
    subtrees(treeAt(section, "children"))
      .filter(([child]) => !enabled.some(({ id }) => isChildOf(child, id)))
      .map(([child]): Finding => ({
        invariant: "loaded",
        about: router.id,
        text: `child ${child} is loaded, unwanted`,
      })),
  );
  return [...surplus, ...enabled.flatMap((connection) => checkOne(connection, sections))];
}

export const isChildOf = (child: string, id: string): boolean => child === id || child.startsWith(`${id}-`);

function checkOne(
  connection: WantedConnection,
  sections: readonly (readonly [name: string, tree: Tree])[],
): readonly Finding[] {
  const finding = (text: string): Finding => ({ invariant: "loaded", about: connection.id, text });
  const ofIt = sections.filter(([, section]) =>
    subtrees(treeAt(section, "children")).some(([child]) => isChildOf(child, connection.id)),
  );
  const [first] = ofIt;
  if (first === undefined || ofIt.length > 1) return [finding(`it is loaded ${String(ofIt.length)} times`)];
  const [, section] = first;
  const children = subtrees(treeAt(section, "children")).filter(([child]) => isChildOf(child, connection.id));
  const expected: Readonly<Record<string, string | undefined>> = {
    version: connection.version === "v1" ? "IKEv1" : "IKEv2",
    local_addrs: connection.localAddress,
    remote_addrs: connection.peerAddress,
    rekey_time: String(Math.floor(connection.ikeLifetime * 0.9)),
    dpd_delay: String(connection.dpd.interval),
    ...(connection.version === "v1" ? { dpd_timeout: String(connection.dpd.timeout) } : {}),
  };
  const are = children.map(([, child]) => selectorsText(listAt(child, "local-ts"), listAt(child, "remote-ts"))).sort();
  const wanted = [...childSelectors(connection)].sort();
  return [
    ...differences(section, expected),
    ...(are.join("; ") === wanted.join("; ") ? [] : [`children are ${are.join("; ")}, not ${wanted.join("; ")}`]),
    ...children.flatMap(([, child]) => [
      ...differences(child, {
        mode: "TUNNEL",
        rekey_time: String(Math.floor(connection.espLifetime * 0.9)),
      }),
      ...dpdProblems(textAt(child, "dpd_action"), DPD_ACTIONS[connection.dpd.action]),
    ]),
  ].map(finding);
}

/** Keys that have another value; undefined: there must be none. */
export function differences(tree: Tree, expected: Readonly<Record<string, string | undefined>>): readonly string[] {
  return Object.entries(expected).flatMap(([key, value]) => {
    const is = textAt(tree, key) ?? (listAt(tree, key).length > 0 ? listAt(tree, key).join(" ") : undefined);
    return is === value ? [] : [`${key} is ${String(is)}, not ${String(value)}`];
  });
}
