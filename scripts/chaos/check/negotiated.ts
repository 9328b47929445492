// Desired against negotiated: the SAs that charon has. Lifetimes and DPD need not be negotiated anew.
import { askCharon, differences, isChildOf } from "./loaded.ts";
import type { Finding } from "./subject.ts";
import { listAt, subtrees, textAt, treeAt, type Tree } from "./tree.ts";
import type { Wanted, WantedConnection, WantedRouter } from "./wanted.ts";
import { listedCipher, listedGroup } from "./words.ts";
import { childSelectors, selectorsText } from "./written.ts";

/** A child SA that carries traffic, with the IKE SA it belongs to. */
export type Installed = { readonly name: string; readonly child: Tree; readonly ike: Tree };

/** Undefined: charon does not answer. */
export async function readInstalled(routerId: string): Promise<readonly Installed[] | undefined> {
  const sas = await askCharon(routerId, "list-sas");
  return sas?.flatMap(([, ike]) =>
    subtrees(treeAt(ike, "child-sas"))
      .filter(([, child]) => textAt(child, "state") === "INSTALLED")
      .map(([, child]) => ({ name: textAt(child, "name") ?? "", child, ike })),
  );
}

export type Negotiated = {
  readonly findings: readonly Finding[];
  /** Ids of connections all of whose children are installed; undefined: charon does not answer. */
  readonly installed: ReadonlySet<string> | undefined;
};

/** `pskSince` tells when a connection's key was last another one, Unix time in ms. */
export async function checkNegotiated(
  router: WantedRouter,
  wanted: Wanted,
  pskSince: (id: string) => number,
): Promise<Negotiated> {
  const all = await readInstalled(router.id);
  if (all === undefined) return { findings: withoutCharon(router, wanted), installed: undefined };
  const strangers = all
    .filter(({ name }) => !router.connections.some(({ id }) => isChildOf(name, id)))
    .map(({ name }): Finding => ({
      invariant: "negotiated",
      about: router.id,
      text: `child ${name} is installed, unwanted`,
    }));
  const ofEach = router.connections.map((connection) => {
    const own = all.filter(({ name }) => isChildOf(name, connection.id));
    return {
      connection,
      own,
      problems: checkOne(connection, own, wanted.up.has(connection.id), pskSince(connection.id)),
    };
  });
  return {
    findings: [...strangers, ...ofEach.flatMap(({ problems }) => problems)],
    installed: new Set(
      ofEach.filter(({ connection, own }) => hasAll(connection, own)).map(({ connection }) => connection.id),
    ),
  };
}

const withoutCharon = (router: WantedRouter, wanted: Wanted): readonly Finding[] =>
  router.connections
    .filter(({ id }) => wanted.up.has(id))
    .map(({ id }) => ({ invariant: "negotiated", about: id, text: "charon does not answer" }));

const selectorsOf = ({ child }: Installed): string =>
  selectorsText(listAt(child, "local-ts"), listAt(child, "remote-ts"));

const hasAll = (connection: WantedConnection, own: readonly Installed[]): boolean =>
  childSelectors(connection).every((selectors) => own.some((one) => selectorsOf(one) === selectors));

function checkOne(
  connection: WantedConnection,
  own: readonly Installed[],
  isWantedUp: boolean,
  pskSinceMs: number,
): readonly Finding[] {
  const finding = (text: string): Finding => ({ invariant: "negotiated", about: connection.id, text });
  if (!isWantedUp) return own.length === 0 ? [] : [finding("it is up and cannot be: the two ends do not agree")];
  const expected = childSelectors(connection);
  const are = [...new Set(own.map(selectorsOf))];
  const missing = expected.filter((selectors) => !are.includes(selectors));
  const surplus = are.filter((selectors) => !expected.includes(selectors));
  return [
    ...missing.map((selectors) => `not installed: ${selectors}`),
    ...surplus.map((selectors) => `installed, unwanted: ${selectors}`),
    ...own.flatMap((one) => checkSa(connection, one, pskSinceMs)),
  ].map(finding);
}

/** By how much charon's clock, which counts whole seconds, may differ from ours. */
const CLOCK_SLACK_MS = 2_500;

function checkSa(connection: WantedConnection, { child, ike }: Installed, pskSinceMs: number): readonly string[] {
  const group = listedGroup(connection.esp);
  const ageMs = Number(textAt(ike, "established") ?? "0") * 1000;
  const isOlderThanKey = Date.now() - ageMs < pskSinceMs - CLOCK_SLACK_MS;
  return [
    ...differences(ike, {
      version: connection.version === "v1" ? "1" : "2",
      "local-host": connection.localAddress,
      "remote-host": connection.peerAddress,
      "local-id": connection.localAddress,
      "remote-id": connection.peerAddress,
      ...listedCipher(connection.ike),
      "prf-alg": `PRF_HMAC_SHA2_${connection.ike.auth.slice("sha".length)}`,
      "dh-group": listedGroup(connection.ike),
    }).map((text) => `IKE SA: ${text}`),
    // The first child of an IKEv2 SA has no key exchange of its own.
    ...differences(child, {
      mode: "TUNNEL",
      ...listedCipher(connection.esp),
      ...(textAt(child, "dh-group") === undefined ? {} : { "dh-group": group }),
    }).map((text) => `child SA: ${text}`),
    ...(isOlderThanKey ? ["its IKE SA is older than its pre-shared key"] : []),
  ];
}
