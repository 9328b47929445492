// Every attribute that an update can change, changed over the bus and read back: from both charons, from the kernel or
// nft, from the SA that was negotiated, and from the file that swanctl would load. An attribute of the schema without a
// row here is a type error.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { afterAll, test } from "vitest";
import { baseDocuments, connectionPair, LEFT_ADDRESS_V6, RIGHT_ADDRESS_V6 } from "../../../scripts/lab-documents.ts";
import { until, type Agent } from "../../../scripts/lab.ts";
import type { ConnectionState } from "../../../src/core/status.ts";
import { getShared, listConns } from "../../../src/vici-client/commands.ts";
import { ViciClosedError } from "../../../src/vici-client/errors.ts";
import type { ChildConfig, ConnConfig } from "../../../src/vici-client/conns.ts";
import type { ChildSa, IkeSa } from "../../../src/vici-client/sas.ts";
import { openViciSession } from "../../../src/vici-client/session.ts";
import type {
  adminStateSchema,
  connectionHeadSchema,
  WireConnection,
  WireIkePolicy,
  WireIpsecPolicy,
} from "../../../src/wire/neutron/schema.ts";
import type { z } from "zod";
import { connectionFiles, labForThisFile, worthReading } from "../../support/lab.ts";
import { startPatchedController, type WireObject } from "../../support/patched-controller.ts";

type Side = "left" | "right";
const SIDES = ["left", "right"] as const;

/** What one gateway has of the connection. */
type Seen = {
  readonly state: ConnectionState;
  readonly conn: ConnConfig | undefined;
  readonly children: readonly ChildConfig[];
  readonly sa: IkeSa | undefined;
  readonly childSas: readonly ChildSa[];
  readonly secrets: readonly string[];
  /** The swanctl file; empty when there is none. */
  readonly file: string;
  /** What a command prints in the namespace. */
  readonly inside: (...command: readonly string[]) => string;
  /** charon's lines in the agent's log since the change. */
  readonly log: string;
};

type Wish = {
  readonly connection?: WireObject;
  readonly ikepolicy?: WireObject;
  readonly ipsecpolicy?: WireObject;
};

type Row = {
  /** Keys on the wire that differ from the base, of each gateway. */
  readonly wish: Readonly<Record<Side, Wish>>;
  /** Another address of the right gateway. */
  readonly rightAddress?: string;
  /** What is read back, and what it has to be. */
  readonly shows: (seen: Seen, before: Seen) => unknown;
  readonly is: Readonly<Record<Side, unknown>>;
  /** In the swanctl file; undefined: that does not hold it. */
  readonly file?: Readonly<Record<Side, RegExp>>;
  /** Instead of all that, with ESP in userland: the reason of the ERROR. */
  readonly userland?: RegExp;
  /** Instead of ACTIVE. */
  readonly status?: ConnectionState["status"];
};

type Attribute =
  | keyof z.output<typeof connectionHeadSchema>
  | keyof z.output<typeof adminStateSchema>
  | Exclude<keyof WireConnection, "ikepolicy" | "ipsecpolicy">
  | `ikepolicy.${keyof WireIkePolicy}`
  | `ipsecpolicy.${keyof WireIpsecPolicy}`;

const LEFT = "203.0.113.10";
const RIGHT = "203.0.113.20";
const MOVED = "203.0.113.21";

const both = <T>(value: T): Readonly<Record<Side, T>> => ({ left: value, right: value });
const connection = (values: WireObject): Row["wish"] => both({ connection: values });
const ike = (values: WireObject): Row["wish"] => both({ ikepolicy: values });
const ipsec = (values: WireObject): Row["wish"] => both({ ipsecpolicy: values });
const rulesOf = ({ inside }: Seen): string => inside("nft", "list", "ruleset");
/** Each pair once: both gateways may have asked for it. */
const selectors = ({ childSas }: Seen): readonly string[] =>
  [...new Set(childSas.map(({ localTs, remoteTs }) => `${localTs.join(" ")} === ${remoteTs.join(" ")}`))].sort();
const cipher = (sa: IkeSa | ChildSa | undefined): unknown => [
  sa?.algorithms.encryption,
  sa?.algorithms.encryptionKeyBits,
];

const ROWS: Readonly<Record<Attribute, Row | "reported by the agent itself">> = {
  status: "reported by the agent itself",
  name: {
    wish: connection({ name: "renamed" }),
    shows: ({ state }) => state.name,
    is: both("renamed"),
  },
  admin_state_up: {
    wish: connection({ admin_state_up: false }),
    shows: ({ conn, sa, secrets, file, state }) => [conn, sa, secrets, file, state.reason?.code],
    is: both([undefined, undefined, [], "", "admin-down"]),
    status: "DOWN",
  },
  peer_address: {
    wish: {
      left: {
        connection: { peer_address: RIGHT_ADDRESS_V6, peer_id: RIGHT_ADDRESS_V6, external_ip: LEFT_ADDRESS_V6 },
      },
      right: {
        connection: { peer_address: LEFT_ADDRESS_V6, peer_id: LEFT_ADDRESS_V6, external_ip: RIGHT_ADDRESS_V6 },
      },
    },
    shows: ({ conn, sa }) => [conn?.remoteAddrs, sa?.remoteHost],
    is: { left: [[RIGHT_ADDRESS_V6], RIGHT_ADDRESS_V6], right: [[LEFT_ADDRESS_V6], LEFT_ADDRESS_V6] },
    file: { left: /remote_addrs = "2001:db8:ff::20"/, right: /remote_addrs = "2001:db8:ff::10"/ },
  },
  external_ip: {
    wish: {
      left: { connection: { peer_address: MOVED, peer_id: MOVED } },
      right: { connection: { external_ip: MOVED } },
    },
    rightAddress: MOVED,
    shows: ({ conn, sa, inside }) => [
      conn?.localAddrs,
      sa?.localHost,
      sa?.remoteHost,
      inside("ip", "-o", "address").includes(`${MOVED}/`),
    ],
    is: { left: [[LEFT], LEFT, MOVED, false], right: [[MOVED], MOVED, LEFT, true] },
    file: { left: /local_addrs = "203.0.113.10"/, right: /local_addrs = "203.0.113.21"/ },
  },
  local_id: {
    wish: {
      left: { connection: { local_id: "@left.example" } },
      right: { connection: { peer_id: "@left.example" } },
    },
    shows: ({ conn, sa }) => [conn?.localAuth[0]?.id, sa?.localId],
    is: { left: ["left.example", "left.example"], right: [RIGHT, RIGHT] },
    file: { left: /local \{[^}]*id = "fqdn:left.example"/, right: /remote \{[^}]*id = "fqdn:left.example"/ },
  },
  peer_id: {
    wish: {
      left: { connection: { peer_id: "@right.example" } },
      right: { connection: { local_id: "@right.example" } },
    },
    shows: ({ conn, sa }) => [conn?.remoteAuth[0]?.id, sa?.remoteId],
    is: { left: ["right.example", "right.example"], right: [LEFT, LEFT] },
    file: { left: /remote \{[^}]*id = "fqdn:right.example"/, right: /local \{[^}]*id = "fqdn:right.example"/ },
  },
  auth_mode: {
    wish: connection({ auth_mode: "pubkey" }),
    shows: ({ conn, sa, file, state }) => [conn, sa, file, state.reason?.text],
    is: both([undefined, undefined, "", 'auth_mode is "pubkey": only psk can be used']),
    status: "ERROR",
  },
  psk: {
    wish: connection({ psk: "another secret" }),
    shows: ({ secrets, sa }, before) => [
      secrets.length,
      secrets.some((id) => before.secrets.includes(id)),
      sa !== undefined && sa.initiatorSpi !== before.sa?.initiatorSpi,
    ],
    is: both([1, false, true]),
    file: both(new RegExp(`secret = "0s${Buffer.from("another secret").toString("base64")}"`)),
  },
  mtu: {
    wish: connection({ mtu: 1380 }),
    shows: (seen) => rulesOf(seen).includes("maxseg size set 1340"),
    is: both(true),
  },
  initiator: {
    wish: { left: { connection: { initiator: "response-only" } }, right: {} },
    shows: ({ children }) => children.map((child) => child.dpdAction),
    is: { left: ["none"], right: ["start"] },
    file: { left: /keyingtries = "1"/, right: /keyingtries = "0"/ },
  },
  dpd_action: {
    wish: connection({ dpd_action: "clear" }),
    shows: ({ children }) => children.map((child) => child.dpdAction),
    is: both(["none"]),
    file: both(/dpd_action = "clear"/),
  },
  dpd_interval: {
    wish: connection({ dpd_interval: 7 }),
    shows: ({ conn }) => conn?.dpdDelaySeconds,
    is: both(7),
    file: both(/dpd_delay = "7s"/),
  },
  dpd_timeout: {
    wish: connection({ dpd_timeout: 33 }),
    shows: ({ conn }) => conn?.dpdTimeoutSeconds,
    is: both(33),
    file: both(/dpd_timeout = "33s"/),
  },
  local_cidrs: {
    wish: {
      left: { connection: { local_cidrs: ["10.1.0.0/25"] } },
      right: { connection: { peer_cidrs: ["10.1.0.0/25"] } },
    },
    shows: (seen) => [selectors(seen), rulesOf(seen).includes("10.1.0.0/25"), rulesOf(seen).includes("10.1.0.0/24")],
    is: {
      left: [["10.1.0.0/25 === 10.2.0.0/24"], true, false],
      right: [["10.2.0.0/24 === 10.1.0.0/25"], true, false],
    },
    file: { left: /local_ts = "10.1.0.0\/25"/, right: /remote_ts = "10.1.0.0\/25"/ },
  },
  peer_cidrs: {
    wish: {
      left: { connection: { peer_cidrs: ["10.2.0.0/24", "10.3.0.0/24"] } },
      right: { connection: { local_cidrs: ["10.2.0.0/24", "10.3.0.0/24"] } },
    },
    // Several networks of one length are a set behind its netmask.
    shows: (seen) => [selectors(seen), rulesOf(seen).includes("{ 10.2.0.0, 10.3.0.0 }")],
    is: {
      left: [["10.1.0.0/24 === 10.2.0.0/24", "10.1.0.0/24 === 10.3.0.0/24"], true],
      right: [["10.2.0.0/24 === 10.1.0.0/24", "10.3.0.0/24 === 10.1.0.0/24"], true],
    },
    file: { left: /remote_ts = "10.3.0.0\/24"/, right: /local_ts = "10.3.0.0\/24"/ },
  },
  local_ip_vers: {
    wish: {
      left: { connection: { local_ip_vers: 6, local_cidrs: ["fd00:1::/64"], peer_cidrs: ["fd00:2::/64"] } },
      right: { connection: { local_ip_vers: 6, local_cidrs: ["fd00:2::/64"], peer_cidrs: ["fd00:1::/64"] } },
    },
    shows: selectors,
    is: { left: ["fd00:1::/64 === fd00:2::/64"], right: ["fd00:2::/64 === fd00:1::/64"] },
    file: { left: /local_ts = "fd00:1::\/64"/, right: /local_ts = "fd00:2::\/64"/ },
  },
  "ikepolicy.ike_version": {
    wish: ike({ ike_version: "v2" }),
    shows: ({ conn, sa }) => [conn?.version, sa?.ikeVersion],
    is: both(["IKEv2", 2]),
    file: both(/version = "2"/),
  },
  "ikepolicy.phase1_negotiation_mode": {
    wish: ike({ phase1_negotiation_mode: "aggressive" }),
    shows: ({ log }) => /Aggressive Mode IKE_SA/.test(log),
    is: both(true),
    file: both(/aggressive = "yes"/),
  },
  "ikepolicy.encryption_algorithm": {
    wish: ike({ encryption_algorithm: "aes-256" }),
    shows: ({ sa }) => cipher(sa),
    is: both(["AES_CBC", 256]),
    file: both(/ proposals = "aes256-sha256-prfsha256-modp2048"/),
  },
  "ikepolicy.auth_algorithm": {
    wish: ike({ auth_algorithm: "sha384" }),
    shows: ({ sa }) => [sa?.algorithms.integrity, sa?.algorithms.prf],
    is: both(["HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"]),
    file: both(/ proposals = "aes128-sha384-prfsha384-modp2048"/),
  },
  "ikepolicy.pfs": {
    wish: ike({ pfs: "group19" }),
    shows: ({ sa }) => sa?.algorithms.dhGroup,
    is: both("ECP_256"),
    file: both(/ proposals = "aes128-sha256-prfsha256-ecp256"/),
  },
  "ikepolicy.lifetime_units": {
    wish: ike({ lifetime_units: "kilobytes" }),
    shows: ({ conn, sa, file, state }) => [conn, sa, file, state.reason?.code],
    is: both([undefined, undefined, "", "unsupported"]),
    status: "ERROR",
  },
  "ikepolicy.lifetime_value": {
    wish: ike({ lifetime_value: 7200 }),
    shows: ({ conn }) => conn?.rekeySeconds,
    is: both(6480),
    file: both(/over_time = "720s"/),
  },
  "ipsecpolicy.transform_protocol": {
    wish: ipsec({ transform_protocol: "ah" }),
    shows: ({ childSas }) => childSas.map((child) => child.protocol),
    is: both(["AH"]),
    file: both(/ah_proposals = "sha256-modp2048"/),
    userland: /^transform_protocol "ah" needs kernel ESP/,
  },
  "ipsecpolicy.encapsulation_mode": {
    wish: {
      left: {
        connection: { local_cidrs: [`${LEFT}/32`], peer_cidrs: [`${RIGHT}/32`] },
        ipsecpolicy: { encapsulation_mode: "transport" },
      },
      right: {
        connection: { local_cidrs: [`${RIGHT}/32`], peer_cidrs: [`${LEFT}/32`] },
        ipsecpolicy: { encapsulation_mode: "transport" },
      },
    },
    shows: ({ childSas }) => childSas.map((child) => child.mode),
    is: both(["TRANSPORT"]),
    file: both(/mode = "transport"/),
    userland: /^encapsulation_mode "transport" needs kernel ESP/,
  },
  "ipsecpolicy.encryption_algorithm": {
    wish: ipsec({ encryption_algorithm: "aes-256-gcm-16" }),
    shows: ({ childSas }) => childSas.map(cipher),
    is: both([["AES_GCM_16", 256]]),
    file: both(/esp_proposals = "aes256gcm16-modp2048"/),
  },
  "ipsecpolicy.auth_algorithm": {
    wish: ipsec({ auth_algorithm: "sha512" }),
    shows: ({ childSas }) => childSas.map((child) => child.algorithms.integrity),
    is: both(["HMAC_SHA2_512_256"]),
    file: both(/esp_proposals = "aes128-sha512-modp2048"/),
  },
  "ipsecpolicy.pfs": {
    wish: ipsec({ pfs: "group20" }),
    shows: ({ childSas }) => childSas.map((child) => child.algorithms.dhGroup),
    is: both(["ECP_384"]),
    file: both(/esp_proposals = "aes128-sha256-ecp384"/),
  },
  "ipsecpolicy.lifetime_units": {
    wish: ipsec({ lifetime_units: "kilobytes", lifetime_value: 100_000 }),
    shows: ({ children }) => children.map((child) => child.rekeyBytes),
    is: both([92_160_000]),
    file: both(/life_bytes = "102400000"/),
  },
  "ipsecpolicy.lifetime_value": {
    wish: ipsec({ lifetime_value: 7200 }),
    shows: ({ children }) => children.map((child) => child.rekeySeconds),
    is: both([6480]),
    file: both(/life_time = "7200s"/),
  },
};

const rows = Object.entries(ROWS).flatMap(([attribute, row]) =>
  typeof row === "string" ? [] : [[attribute, row] as const],
);

const lab = await labForThisFile({ documents: (routers) => documentsFor(routers), startsController: false });
const controller = await startPatchedController(lab);
afterAll(() => controller.close());

/** IKEv1, since it shows more: every CHILD SA has a group, and dpd_timeout has a meaning. */
function documentsFor(routers: Parameters<typeof baseDocuments>[0], rightAddress = RIGHT) {
  const suite = { encryption_algorithm: "aes-128", auth_algorithm: "sha256", pfs: "group14" };
  const base = baseDocuments(routers, { ike: { ike_version: "v1", ...suite }, ipsec: suite });
  return [
    ...base.map((document) =>
      document["name"] === "right"
        ? { ...document, external: { network: "internet", fixed_ips: [rightAddress, RIGHT_ADDRESS_V6] } }
        : document,
    ),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }),
  ];
}

/** Undefined while there is no connection yet, or charon comes or goes. */
const lookAgain = (...of: Parameters<typeof look>): Promise<Seen | undefined> =>
  look(...of).catch((error: unknown) => {
    if (error instanceof ViciClosedError) return undefined;
    throw error;
  });

async function look(agent: Agent, router: string, logFrom: number): Promise<Seen | undefined> {
  const [state] = (await agent.status()).routers.flatMap((one) => one.connections);
  if (state === undefined) return undefined;
  const socket = `/run/charon.qvpn-${router}.vici`;
  const vici = existsSync(socket) ? await openViciSession({ path: socket }) : undefined;
  try {
    const [conn] = vici === undefined ? [] : await listConns(vici);
    const sas = vici === undefined ? [] : await agent.ikeSas(router);
    const secrets = vici === undefined ? [] : await getShared(vici);
    const sa = sas.filter((one) => one.state === "ESTABLISHED").at(-1);
    return {
      state,
      conn,
      children: conn?.children ?? [],
      sa,
      childSas: sa?.childSas.filter((child) => child.state === "INSTALLED") ?? [],
      secrets: secrets.filter((id) => id.startsWith("ike-")),
      file: connectionFiles(agent, `qvpn-${router}`)
        .map((file) => readFileSync(file, "utf8"))
        .join("\n"),
      inside: (...command) => execFileSync("ip", ["netns", "exec", `qvpn-${router}`, ...command], { encoding: "utf8" }),
      log: agent.log().slice(logFrom),
    };
  } finally {
    await vici?.close();
  }
}

const merged = (of: unknown, more: WireObject = {}): WireObject => ({ ...(of as WireObject), ...more });

function change(wish: Row["wish"], rightAddress?: string): void {
  lab.write(documentsFor(lab.routers, rightAddress));
  controller.patch((wire, host) => {
    const { connection: values, ikepolicy, ipsecpolicy } = wish[host === lab.left.host ? "left" : "right"];
    return {
      ...wire,
      ...values,
      ikepolicy: merged(wire["ikepolicy"], ikepolicy),
      ipsecpolicy: merged(wire["ipsecpolicy"], ipsecpolicy),
    };
  });
}

/** What is there without the change, so that its own effect is seen. */
function withoutChange(attribute: string, row: Row): Promise<Readonly<Record<Side, Seen>>> {
  const isThere = (seen: Seen | undefined): seen is Seen => seen?.state.status === "ACTIVE" && seen.state.inSync;
  return until(`all is without a change of ${attribute}`, 20_000, async () => {
    const left = await lookAgain(lab.left, lab.routers.left, lab.left.log().length);
    const right = await lookAgain(lab.right, lab.routers.right, lab.right.log().length);
    if (!isThere(left) || !isThere(right)) return undefined;
    const differs = (side: Side, seen: Seen): boolean => !isDeepStrictEqual(row.shows(seen, seen), row.is[side]);
    return differs("left", left) || differs("right", right) ? { left, right } : undefined;
  });
}

test.each(rows)("%s", async (attribute, row) => {
  const { espBackEnd } = await lab.left.status();
  change({ left: {}, right: {} });
  const before = await withoutChange(attribute, row);
  const logFrom = { left: lab.left.log().length, right: lab.right.log().length };
  const refusal = espBackEnd === "userland" ? row.userland : undefined;

  change(row.wish, row.rightAddress);
  for (const side of SIDES) {
    let last: unknown;
    await until(`${attribute} has arrived on the ${side}`, 20_000, async () => {
      const seen = await lookAgain(lab[side], lab.routers[side], logFrom[side]);
      if (seen === undefined) return false;
      const { status, reason } = seen.state;
      if (refusal !== undefined) {
        last = [status, reason?.text];
        return status === "ERROR" && refusal.test(reason?.text ?? "");
      }
      last = [status, reason?.text, row.shows(seen, before[side]), row.is[side]];
      if (status !== (row.status ?? "ACTIVE")) return false;
      if (row.file !== undefined && !row.file[side].test(seen.file)) {
        last = [last, `no ${String(row.file[side])} in`, seen.file.replace(/secret = .*/g, "")];
        return false;
      }
      return isDeepStrictEqual(row.shows(seen, before[side]), row.is[side]);
    }).catch((error: unknown) => {
      const log = SIDES.map((one) => worthReading(lab[one])).join("\n");
      throw new Error(`${String(error)}; last seen: ${JSON.stringify(last)}\n${log}`, { cause: error });
    });
  }
});
