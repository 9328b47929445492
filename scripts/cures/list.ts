// The cures taken out again: for each defect of the stock agent that a test sees, the change of a source that brings it back,
// as narrowly as it can be. What the stock agent does is in docs/neutron.md, beside the cure.
import type { Mutation } from "../chaos/program-copy.ts";
import type { NamedTest } from "./defects.ts";

export type Reversal = {
  /** Files are named as the working tree has them. */
  readonly changes: readonly Mutation[];
  /** Where the named test is a row: the file that runs it, or the row to be run of many. */
  readonly runs?: Partial<NamedTest>;
};

const PLAN = "src/core/plan.ts";
const PLAN_PEER = "src/core/plan-peer.ts";
const STATUS = "src/core/connection-status.ts";
const NETWORK = "src/core/network.ts";
const GUARD = "src/core/guard.ts";
const DAEMON = "src/io/charon/daemon.ts";
const CONTROL_PLANE = "src/io/rabbit/control-plane.ts";
const DECODE = "src/wire/neutron/decode.ts";
const IDENTITY = "src/wire/neutron/identity.ts";
const PEER_SECTION = "src/wire/swanctl/peer.ts";

const one = (file: string, from: string, to: string): Reversal => ({ changes: [{ file, from, to }] });

export const REVERSALS: Readonly<Record<string, Reversal>> = {
  // What is listed is held, and nobody is woken for what is another one than before.
  "B-01": one("src/reconcile/loop.ts", "routerText(held) !== routerText(router)", 'routerText(held) === ""'),
  // An exception on the way to every report.
  "B-02": one(
    CONTROL_PLANE,
    "await call(UPDATE_STATUS,",
    'if (report.length > 0) throw new Error("no attribute of that name");\n      await call(UPDATE_STATUS,',
  ),
  // Unloaded, and its SAs left alone.
  "B-03": one(PLAN, 'steps.push(terminateChild(sa, child, "removed"));', "continue;"),
  // The new key is loaded, and no SA of the old one touched.
  "B-04": one(
    PLAN_PEER,
    "if (this.#isIkeProven(state) || this.#isIkeProvenByOther(state)) return [];",
    'if (this.#isIkeProven(state) || this.#isIkeProvenByOther(state) || !this.#hasChanged(state, "ike")) return [];',
  ),
  // The new selectors are loaded, and the child SA with the old ones is good enough.
  "B-05": {
    changes: [
      {
        file: PLAN_PEER,
        from: 'else if (changed("selectors") && !hasSelectorsOf(child, config)) stale.push(child.uniqueId);',
        to: 'else if (changed("selectors") && !hasSelectorsOf(child, config)) continue;',
      },
      {
        file: PLAN_PEER,
        from: "(mayBeNarrowed || !carriesTraffic(sa) || carriesAll(sa, wanted));",
        to: "(mayBeNarrowed || !carriesTraffic(sa) || carriesAll(sa, wanted) || carriesTraffic(sa));",
      },
    ],
  },
  // Only what is there when nothing stands yet is initiated.
  "B-06": one(
    PLAN_PEER,
    "if (!mayInitiate(tunnel) || this.#isNegotiating()) return;",
    "if (!mayInitiate(tunnel) || this.#isNegotiating() || this.#live.length > 0) return;",
  ),
  // The connection's own admin_state_up does not count.
  "B-07": one(
    DECODE,
    "if (!admin.data.admin_state_up) return",
    "if (!admin.data.admin_state_up && !service.enabled) return",
  ),
  // The first list without it is believed.
  "B-08": one("src/core/removal.ts", "(doubt === undefined ? 2 : 3) - count", "(doubt === undefined ? 1 : 1) - count"),
  // The last service of a router takes the place of the ones before.
  "B-09": one(
    DECODE,
    "const merged = collected.routers.get(router) ?? { services: [], connections: [] };",
    "const merged: MutableRouter = { services: [], connections: [] };",
  ),
  // `initiator` does not count.
  "B-10": one(
    PLAN_PEER,
    'tunnel.initiator === "bi-directional" && tunnel.peerAddress !== "%any";',
    'tunnel.peerAddress !== "%any";',
  ),
  // One attempt, which charon gives up by itself.
  "B-11": {
    changes: [
      {
        file: PLAN_PEER,
        from: "if (!this.#peer.members.some((member) => mayInitiate(member.tunnel))) return;",
        to: "if (this.#peer.members.length > 0) return;",
      },
      {
        file: PLAN_PEER,
        from: "if (missing.length === 0) return;",
        to: "if (missing.length === 0 || (this.#notes.attempts.get(tunnel.id)?.count ?? 0) > 0) return;",
      },
      { file: PEER_SECTION, from: 'keyingtries: mayInitiate(leader) ? "0" : "1",', to: 'keyingtries: "1",' },
    ],
  },
  // Neutron's words go to charon as they are.
  "B-12": {
    changes: [
      {
        file: PEER_SECTION,
        from: 'case "disabled":\n      return "clear";',
        to: 'case "disabled":\n      return tunnel.dpd.action;',
      },
      {
        file: PEER_SECTION,
        from: 'return mayInitiate(tunnel) ? "restart" : "clear";',
        to: 'return mayInitiate(tunnel) ? tunnel.dpd.action : "clear";',
      },
    ],
  },
  // charon's default proposals stand beside what was chosen.
  "B-13": {
    changes: [
      {
        file: PEER_SECTION,
        from: "proposals: [ikeProposal(leader.ike)],",
        to: 'proposals: [ikeProposal(leader.ike), "default"],',
      },
      {
        file: PEER_SECTION,
        from: "{ esp_proposals: [espProposal(ipsec)] };",
        to: '{ esp_proposals: [espProposal(ipsec), "default"] };',
      },
    ],
  },
  // No segment is clamped.
  "B-14": one(GUARD, "rules: mssRules(guard.pairs) },", "rules: mssRules(guard.pairs).slice(0, 0) },"),
  // The stock agent's rekeymargin of three minutes.
  "B-15": one(
    PEER_SECTION,
    "Math.floor(totalSeconds * (totalSeconds < 120 ? 0.75 : 0.9));",
    "Math.max(0, totalSeconds - 180);",
  ),
  // ipsec.conf's default of `reauth`.
  "B-16": one(
    PEER_SECTION,
    'rekey_time: seconds(rekey), over_time: seconds(over), rand_time: seconds(spread), reauth_time: "0s"',
    'rekey_time: "0s", over_time: seconds(over), rand_time: seconds(spread), reauth_time: seconds(rekey)',
  ),
  // The number is taken, and its unit left.
  "B-17": one(
    PEER_SECTION,
    "const bytes = lifetime.kilobytes * 1024;",
    'if (lifetime.kilobytes > 0) return childLifetime({ kind: "seconds", seconds: lifetime.kilobytes });\n    const bytes = lifetime.kilobytes * 1024;',
  ),
  // One child with all subnets, whatever the version.
  "B-18": one("src/core/peers.ts", "if (tunnel.ike.version === 2 && !splitChildren) {", "if (!splitChildren) {"),
  // Any character may be in an identity.
  "B-19": one(IDENTITY, 'return refused("contains a control character");', 'return typed("keyid", wire);'),
  // Values stand in the file as they are.
  "B-20": one(
    "src/wire/swanctl/section.ts",
    "const quote = (value: string): string =>\n  `",
    "const quote = (value: string): string =>\n  value || `",
  ),
  // The '@' is taken for the user's own.
  "B-21": one(
    IDENTITY,
    'if (reading === "compatible") return decodeName(text, wire, reading);',
    'if (reading !== "smart") return typed("fqdn", text);',
  ),
  // A list that cannot be had is a list without anything.
  "B-23": one(
    CONTROL_PLANE,
    "await call(GET_SERVICES, encodeHostArgs(host), signal)",
    "await call(GET_SERVICES, encodeHostArgs(host), signal).catch(() => [])",
  ),
  // What charon tells of SAs is not heard.
  "B-25": one(DAEMON, 'else this.#tell({ kind: "sasChanged" });', ""),
  // All failures are alike.
  "B-26": one(
    STATUS,
    "if (failure !== undefined) return down(failure.code, failure.text);",
    'if (failure !== undefined) return down("negotiating", `negotiating with ${tunnel.peerAddress}`);',
  ),
  // A process for a look.
  "B-27": {
    changes: [
      {
        file: DAEMON,
        from: 'import { setTimeout as sleep } from "node:timers/promises";',
        to: 'import { execFileSync } from "node:child_process";\nimport { setTimeout as sleep } from "node:timers/promises";',
      },
      {
        file: DAEMON,
        from: 'if (charon === undefined || !this.#isInPlace(charon)) return { kind: "absent" };',
        to: 'if (charon === undefined || !this.#isInPlace(charon)) return { kind: "absent" };\n    execFileSync("ip", ["netns", "exec", this.#namespace, "true"]);',
      },
    ],
  },
  // The first report that fails is the last one.
  "B-28": one(
    "src/reconcile/reporter.ts",
    'this.#hooks.onReport("failed");',
    'this.#hooks.onReport("failed");\n      this.#stop.abort();',
  ),
  // One lock for all routers.
  "B-29": one(
    "src/reconcile/turns.ts",
    "if (this.#running < this.#atOnce) {",
    "if (this.#running < Math.min(1, this.#atOnce)) {",
  ),
  // What nobody expected ends the pass, and is nobody's.
  "B-30": one(
    "src/reconcile/reconcile.ts",
    "this.#observer.onInternalError();",
    "if (run.failure === undefined) throw error;\n    this.#observer.onInternalError();",
  ),
  // One that does not tell how it is is left alone, and its files go.
  "B-31": one(
    DAEMON,
    "const charon = this.#running() ?? this.#former;",
    'if ((await this.observe(signal)).kind !== "up") return removeAll(this.#paths);\n    const charon = this.#running() ?? this.#former;',
  ),
  // Only what is remembered is looked for.
  "B-32": one(
    "src/reconcile/fetcher.ts",
    "const gone = [...new Set([...before.keys(), ...owned])].filter(",
    "const gone = [...before.keys()].filter(",
  ),
  // Routes to local subnets of IPv4 only.
  "B-33": one(
    NETWORK,
    "return locals.flatMap((local) => {\n    const family = familyOf(local);",
    "return locals.flatMap((local) => {\n    const family = familyOf(local);\n    if (family === 6) return [];",
  ),
  // Nothing can be made of such a subnet.
  "B-34": one(
    "src/wire/neutron/plumbing.ts",
    "if (family === undefined || prefixLength === undefined) return undefined;",
    'if (family === undefined || prefixLength === undefined || typeof wire.gateway_ip !== "string") return undefined;',
  ),
  // Nobody looks whether the address is there.
  "B-35": one(
    STATUS,
    'if (missing !== undefined) return error({ code: "no-external-address", text: missing });',
    'if (missing !== undefined) return down("negotiating", `negotiating with ${tunnel.peerAddress}`);',
  ),
  // What finds no tunnel goes on.
  "B-36": {
    changes: [
      { file: GUARD, from: "{ counter: counterName(hook) }, { drop: null }];", to: "{ counter: counterName(hook) }];" },
      { file: NETWORK, from: "const BLOCKED_PREFERENCE = 222;", to: "const BLOCKED_PREFERENCE = 32_768;" },
    ],
    // Of all faults the plainest.
    runs: { name: "B-36: charon is killed: nothing leaves in clear, and unrelated traffic goes on" },
  },
  // The table is not looked at again once it was made.
  "B-37": one(
    "src/io/kernel/network.ts",
    "if (isKnown && generation === applied.generation)",
    "if (isKnown && (generation === applied.generation || applied.table !== undefined))",
  ),
  // In aggressive mode charon leaves a peer without an answer.
  "B-38": {
    ...one(
      "src/wire/swanctl/strongswan-conf.ts",
      'i_dont_care_about_security_and_use_aggressive_mode_psk: "yes",',
      'i_dont_care_about_security_and_use_aggressive_mode_psk: "no",',
    ),
    // Its name stands in a table of rows.
    runs: { file: "test/integration/charon/policies.test.ts" },
  },
  // ipsec.conf's default of `uniqueids`.
  "B-40": one(PEER_SECTION, 'peer.hasOwnIdentities ? "replace" : "never"', '"replace"'),
  // Every router is in its qrouter-….
  "B-41": one("src/io/l3-agent/router-host.ts", "exists(snat) ? snat : own", "exists(own) ? own : own"),
  "B-42": one(PEER_SECTION, 'mobike: "no",', 'mobike: "yes",'),
  // New rules come beside the old ones.
  "B-43": one(GUARD, "  ...noTable(table),\n", ""),
  // Both are loaded.
  "B-45": one("src/core/peers.ts", "if (taken !== undefined) {", 'if (taken !== undefined && taken === "") {'),
  // As whoever caused the pass.
  "B-46": one("src/wire/oslo/context.ts", "is_admin: true,", "is_admin: false,"),
};
