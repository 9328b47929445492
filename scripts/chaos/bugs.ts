// Bugs to be found: for each invariant one that breaks it, as a change of one text of the built program. A checker that does
// not find its bug proves nothing by finding none.
import type { ChangeKind } from "./changes.ts";
import type { EspBackEnd, Invariant } from "./check/subject.ts";
import type { FaultKind } from "./faults/kinds.ts";
import type { PlaceName } from "./places/places.ts";
import type { Mutation } from "./program-copy.ts";

export type Bug = {
  readonly name: string;
  readonly invariant: Invariant;
  readonly mutations: readonly Mutation[];
  /** Where it is one; absent: everywhere. */
  readonly places?: readonly PlaceName[];
  /** Where ESP is; absent: wherever it is. */
  readonly esp?: EspBackEnd;
  /** What brings it to light; absent: the first start does. */
  readonly faults?: readonly FaultKind[];
  readonly changes?: readonly ChangeKind[];
};

const DAEMON = "io/charon/daemon.js";
const NETWORK = "io/kernel/network.js";
const STATUS = "core/connection-status.js";
const VERDICT = "const { status, cause } = verdict(connection, children, input);";
const NOTHING_DROPS: Mutation = {
  file: "core/guard.js",
  from: "{ counter: counterName(hook) }, { drop: null }]",
  to: "{ counter: counterName(hook) }]",
};
const NOTHING_BLOCKS: Mutation = {
  file: "core/network.js",
  from: '({ kind: "block", namespace, source, destination }))',
  to: '({ kind: "block", namespace, source, destination })).slice(0, 0)',
};

export const BUGS: readonly Bug[] = [
  {
    name: "files are not written",
    invariant: "written",
    mutations: [
      { file: DAEMON, from: "writeConnectionFile(this.#paths, step.connection, fileText(", to: "void (0, fileText(" },
    ],
  },
  {
    name: "what is loaded once is not loaded again",
    invariant: "loaded",
    mutations: [
      {
        file: DAEMON,
        from: "await this.#loadPeer(vici, step.peer.name, step.peer, options);\n                return;",
        to: "this.once ??= new Set(); if (this.once.has(step.peer.name)) return; this.once.add(step.peer.name); await this.#loadPeer(vici, step.peer.name, step.peer, options); return;",
      },
    ],
    changes: ["subnet", "lifetime"],
  },
  {
    name: "a changed key is loaded, and nobody has to prove it",
    invariant: "negotiated",
    mutations: [
      { file: DAEMON, from: 'case "reauthenticate":', to: 'case "reauthenticate": return;' },
      { file: DAEMON, from: 'case "terminateIke":', to: 'case "terminateIke": return;' },
    ],
    changes: ["psk-both", "psk-one-side"],
  },
  {
    name: "every connection is reported ACTIVE",
    invariant: "reported",
    mutations: [{ file: STATUS, from: VERDICT, to: `${VERDICT.replace("status, ", "")} const status = "ACTIVE";` }],
    changes: ["admin-state", "psk-one-side"],
  },
  {
    name: "no connection is reported ACTIVE",
    invariant: "contradiction",
    mutations: [{ file: STATUS, from: VERDICT, to: `${VERDICT.replace("status, ", "")} const status = "DOWN";` }],
  },
  {
    name: "nothing holds packets back when the route to a peer is gone",
    invariant: "network",
    places: ["transit", "ovs"],
    mutations: [{ file: "core/network.js", from: ": [...block, unicast(", to: ": [unicast(" }],
  },
  {
    name: "clear text from outside is let in",
    invariant: "guard",
    mutations: [{ file: "core/guard.js", from: '[...inbound(block), ...droppedBy("forward")],', to: "" }],
  },
  {
    name: "the guard stands once only",
    invariant: "guard",
    mutations: [
      {
        file: "core/guard.js",
        from: "GUARD_TABLES.flatMap((table, at)",
        to: "GUARD_TABLES.slice(0, 1).flatMap((table, at)",
      },
    ],
  },
  {
    name: "nothing stands in for the guard",
    invariant: "network",
    esp: "userland",
    mutations: [
      {
        file: "core/network.js",
        from: "familiesIn(peers).map((family) => deadEndRule(transit.inner, family))",
        to: "[]",
      },
      {
        file: "core/router-network.js",
        from: "standIns(scope.namespace, pairs, isApart)",
        to: "undefined",
      },
    ],
  },
  {
    name: "no policy blocks behind charon's",
    invariant: "ipsec",
    esp: "kernel",
    mutations: [NOTHING_BLOCKS],
  },
  {
    name: "what a charon that was killed has left in the kernel stays",
    invariant: "ipsec",
    esp: "kernel",
    mutations: [{ file: "reconcile/reconcile.js", from: "if (entries.length === 0)", to: "if (true)" }],
    faults: ["charon-kill"],
  },
  {
    name: "the guard counts, and nothing drops or blocks",
    invariant: "clear-text",
    esp: "kernel",
    mutations: [NOTHING_DROPS, NOTHING_BLOCKS],
    faults: ["charon-kill"],
    changes: ["psk-one-side", "admin-state"],
  },
  {
    name: "the guard counts, and nothing drops",
    invariant: "clear-text",
    esp: "userland",
    mutations: [
      NOTHING_DROPS,
      // Nor does what stands in for it: it comes after the default route.
      { file: "core/network.js", from: "BLOCKED_PREFERENCE = 222;", to: "BLOCKED_PREFERENCE = 32_768;" },
      { file: "core/network.js", from: "UNREACHABLE_PREFERENCE = 32_765;", to: "UNREACHABLE_PREFERENCE = 32_768;" },
    ],
    faults: ["charon-kill"],
    changes: ["psk-one-side", "admin-state"],
  },
  {
    name: "a namespace that is not wanted any more stays",
    invariant: "orphan-namespace",
    places: ["transit", "ovs"],
    mutations: [{ file: NETWORK, from: "deleteNamespace(step.namespace);", to: "" }],
    changes: ["withdraw"],
  },
  {
    name: "a charon that is not wanted any more runs on",
    invariant: "orphan-process",
    mutations: [
      { file: DAEMON, from: "await this.#options.supervisor.stop(this.#namespace, charon, signal);", to: "" },
    ],
    changes: ["withdraw"],
  },
  {
    name: "files and socket of a charon that ended stay",
    invariant: "orphan-file",
    mutations: [{ file: DAEMON, from: "removeAll(this.#paths);", to: "" }],
    changes: ["withdraw"],
  },
  {
    name: "reply queues of the dead never expire",
    invariant: "orphan-queue",
    mutations: [{ file: "io/rabbit/topology.js", from: 'ttlMs > 0 ? { "x-expires": ttlMs } : {}', to: "{}" }],
    faults: ["agent-kill"],
  },
  {
    name: "a route takes what is not the VPN's",
    invariant: "unrelated-traffic",
    places: ["transit", "ovs"],
    mutations: [
      {
        file: "core/network.js",
        from: "unicast(transit.outer, peer, via, { metric })]",
        to: 'unicast(transit.outer, peer, via, { metric }), unicast(transit.outer, "203.0.113.1/32", via, { metric })]',
      },
    ],
  },
  {
    name: "a rule too many in a router's own namespace",
    invariant: "network",
    esp: "userland",
    places: ["router"],
    mutations: [
      {
        file: "core/router-network.js",
        from: "? charonRules(scope.namespace) : []",
        to: "? charonRules(scope.namespace).flatMap((rule) => [rule, { ...rule, preference: 60 }]) : []",
      },
    ],
  },
  {
    name: "the packet filter of a router that is not wanted any more stays",
    invariant: "network",
    places: ["router"],
    mutations: [{ file: "core/network-plan.js", from: '{ kind: "removeGuard", namespace }', to: "" }],
    changes: ["withdraw"],
  },
  {
    name: "what goes through the tunnel is translated as everything else",
    invariant: "guard",
    places: ["router"],
    mutations: [
      { file: "core/guard.js", from: 'rules: [...bothWays(toItself("snat")), ...untranslated]', to: "rules: []" },
    ],
  },
  {
    name: "nothing is translated any more",
    invariant: "unrelated-traffic",
    places: ["router"],
    mutations: [
      {
        file: "core/guard.js",
        from: 'rules: [...bothWays(toItself("snat")), ...untranslated]',
        to: 'rules: [...bothWays(toItself("snat")), ...blocks.map(toItself("snat"))]',
      },
    ],
  },
  {
    name: "nothing may go into the tunnel",
    invariant: "tunnel-traffic",
    esp: "userland",
    mutations: [{ file: "core/guard.js", from: "[from(link), to(USERLAND_ESP_LINK)],", to: "" }],
  },
];
