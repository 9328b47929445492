// The agent's composition root: it builds everything that touches the outside, hands it to the reconciler as ports, and
// owns the order of starting and stopping.
//
// The way of an update through the house: io/rabbit takes a cast and marks the router; reconcile/loop fetches the list,
// decides what an absence means, and wakes the router's worker; reconcile/reconcile observes (io/kernel, io/charon),
// plans (core/network-plan, core/plan) and applies; what came of it goes to reconcile/reporter and from there back over
// io/rabbit. Stopping the agent stops no tunnel.
import { once } from "node:events";
import {
  announcerOptions,
  ikeOptions,
  routerHostOptions,
  routerNamespaces,
  inspectionOptions,
  loopOptions,
  reconcileOptions,
  supervisorOptions,
  switchOptions,
} from "./agent-options.ts";
import type { AgentConfig } from "./config.ts";
import type { EspBackEnd } from "./core/guard.ts";
import type { RouterId } from "./core/ids.ts";
import type { Clock, Network } from "./core/ports.ts";
import type { AgentState, OvnState } from "./core/status.ts";
import type { RouterViews } from "./core/views.ts";
import { startControlServer, startHealthServer, type ApiServer, type OrderAnswer } from "./io/api/server.ts";
import { createInspection } from "./io/charon/inspection.ts";
import { routersWithFiles } from "./io/charon/files.ts";
import { createIke } from "./io/charon/ike.ts";
import { chooseSupervisor } from "./io/charon/supervisor-choice.ts";
import type { Supervisor } from "./io/charon/supervisor.ts";
import { KernelNetwork } from "./io/kernel/network.ts";
import { createRouterHost } from "./io/l3-agent/router-host.ts";
import { createLog, type Logger } from "./io/log.ts";
import { createMetrics, type Metrics } from "./io/metrics.ts";
import { createAnnouncer, type Announcer } from "./io/ovn/announcer.ts";
import { OpenVswitch } from "./io/ovn/switch.ts";
import { SwitchedNetwork } from "./io/ovn/switched-network.ts";
import { createBroker, type Broker } from "./io/rabbit/broker.ts";
import { createControlPlane } from "./io/rabbit/control-plane.ts";
import { createStateReporter } from "./io/rabbit/state-reporter.ts";
import { systemTiming } from "./io/rabbit/timing.ts";
import { createSnapshotStore, loadNodeKey } from "./io/state.ts";
import { createNotifier, keepWatchdog } from "./io/systemd.ts";
import { applyGuardByNft } from "./io/nft/nft.ts";
import { Loop, type LoopOptions } from "./reconcile/loop.ts";
import { emptyMemory } from "./reconcile/memory.ts";
import { aliasOf, Reconciler, type Observer } from "./reconcile/reconcile.ts";
import { Reporter } from "./reconcile/reporter.ts";
import { reloadWhenAsked, tellWarnings, type Reload } from "./reload.ts";
import {
  ADDED_TO_AGENT,
  AGENT_TOPIC,
  AGENT_UPDATED,
  decodeAddedArgs,
  decodeRemovedArgs,
  decodeServiceUpdatedArgs,
  REMOVED_FROM_AGENT,
  SERVICE_UPDATED,
} from "./wire/neutron/rpc.ts";

const systemClock: Clock = {
  nowMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/** Runs until the signal aborts; everything it opened is closed then, and every tunnel is as it was. */
export async function runAgent(config: AgentConfig, signal: AbortSignal, reload: Reload<AgentConfig>): Promise<void> {
  const startedAtMs = Date.now();
  const log = createLog(config.log);
  const notifier = createNotifier(config.serviceManager.notifySocket, (err) => log.warn({ err }, "systemd not told"));
  const onFailure = (err: unknown, request: string): void => log.error({ err, request }, "request not answered");
  // Backwards: what was opened last may use what was opened first.
  const closers: (() => Promise<void> | void)[] = [];
  let agent: Agent | undefined;
  try {
    // First, since a second agent on this socket is refused before it touches anything.
    const control = await startControlServer(
      config.controlSocket,
      {
        state: () => agentState(config, startedAtMs, agent),
        diff: async (router) => {
          const routers = await agent?.inspect(router);
          return routers === undefined ? undefined : { version: 1, routers };
        },
        sync: (router) => answer(agent?.loop.sync(router)),
        teardown: async (router) => {
          const failure = await agent?.loop.teardown(router);
          return failure instanceof Error ? { kind: "failed", why: failure.message } : answer(failure);
        },
      },
      { onFailure },
    );
    closers.push(() => control.close());
    agent = await buildAgent(config, log, closers, signal);
    const { broker, loop, espBackEnd, supervisor, announcer } = agent;
    log.info({ host: config.host, espBackEnd, supervisor, version: config.version }, "agent starts");
    tellWarnings(config, log);
    if (config.http.enabled) {
      const health = await healthServer(config, agent, onFailure);
      closers.push(() => health.close());
    }
    loop.start();
    // Whoever is not announced is sent nothing, and asking binds routers to this host.
    if (announcer === undefined) broker.start();
    else announcer.start();
    closers.push(keepWatchdog(notifier, config.serviceManager.watchdogMs, () => !loop.isStalled));
    reloadWhenAsked(config, reload, log, agent.configure);
    notifier.ready();
    if (!signal.aborted) await once(signal, "abort");
    log.info("agent stops, tunnels stay up");
    notifier.stopping();
  } catch (err) {
    // Asked to stop while it was being built.
    if (err !== signal.reason) throw err;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

type Agent = {
  readonly espBackEnd: EspBackEnd;
  readonly supervisor: Supervisor["kind"];
  readonly metrics: Metrics;
  readonly broker: Broker;
  readonly loop: Loop;
  /** Undefined: the control plane learns in another way that we are alive. */
  readonly announcer: Announcer | undefined;
  readonly inspect: (router: RouterId | undefined) => Promise<readonly RouterViews[] | undefined>;
  /** Puts in force what needs no restart. */
  readonly configure: (config: AgentConfig) => void;
};

/** While the agent is being built there is no router that it knows. */
const answer = (isKnown = false): OrderAnswer => ({ kind: isKnown ? "done" : "unknownRouter" });

function agentState(config: AgentConfig, startedAtMs: number, agent: Agent | undefined): AgentState {
  const { lastFetchAtMs } = agent?.loop ?? {};
  return {
    version: 1,
    host: config.host,
    startedAtMs,
    espBackEnd: agent?.espBackEnd ?? "kernel",
    ...(agent === undefined ? {} : { supervisor: agent.supervisor }),
    brokerConnected: agent?.broker.isConnected ?? false,
    ...(agent?.announcer === undefined ? {} : { ovn: agent.announcer.state }),
    desired: agent?.loop.desired.kind ?? "unknown",
    ...(lastFetchAtMs === undefined ? {} : { lastFetchAtMs }),
    routers: agent?.loop.states() ?? [],
  };
}

/**
 * Takes one router, or all of this host's, away while no agent runs; the control socket is the lock that keeps it so.
 * Returns which were there.
 */
export async function teardownWithoutAgent(
  config: AgentConfig,
  router: RouterId | undefined,
  signal: AbortSignal,
): Promise<readonly RouterId[]> {
  const log = createLog({ ...config.log, level: "warn" });
  const { supervisor } = await chooseSupervisor(supervisorOptions(config), signal);
  const onFailure = (err: unknown): void => log.error({ err }, "request not answered");
  const state = (): AgentState => agentState(config, Date.now(), undefined);
  const control = await startControlServer(config.controlSocket, { state }, { onFailure });
  const { network, close: closeNetwork } = createNetwork(config, log);
  const routerHost = createRouterHost(routerHostOptions(config), log);
  const key = loadNodeKey(config.stateDirectory, log);
  const hooks = { onCommand: () => undefined, onLog: () => undefined, onTakeOver: () => undefined };
  const ike = createIke(ikeOptions(config, key, "kernel", supervisor, hooks));
  try {
    const options = reconcileOptions(config, key, { espBackEnd: "kernel", kernelEsp: undefined }, routerHost);
    const reconciler = new Reconciler({ network, ike, clock: systemClock }, options, NO_OBSERVER, log);
    const owned = await network.listOwned(aliasOf(options), signal);
    const gone = owned.filter((id) => router === undefined || id === router);
    for (const id of gone) {
      const outcome = await reconciler.remove(id, emptyMemory(id), signal);
      if (outcome.kind === "incomplete") throw outcome.failure;
    }
    return gone;
  } finally {
    await ike.close();
    await closeNetwork();
    await control.close();
  }
}

const NO_OBSERVER: Observer = {
  onStep: () => undefined,
  onCharonRestart: () => undefined,
  onInternalError: () => undefined,
  onDrift: () => undefined,
};

/** With a switch beside the kernel where links are its ports. */
function createNetwork(
  config: AgentConfig,
  log: Logger,
): { readonly network: Network; readonly close: () => Promise<void> } {
  const leftFiles = (): readonly RouterId[] => routersWithFiles(config.runDirectory);
  const kernel = new KernelNetwork(applyGuardByNft, leftFiles, routerNamespaces(config));
  const options = switchOptions(config, { clock: systemClock, log });
  if (options === undefined) {
    return {
      network: kernel,
      close() {
        kernel.close();
        return Promise.resolve();
      },
    };
  }
  const openVswitch = new OpenVswitch(options);
  return {
    network: new SwitchedNetwork(kernel, openVswitch),
    async close() {
      await openVswitch.close();
      kernel.close();
    },
  };
}

/** Builds the parts and joins them; nothing of it works before `start` of the loop and of the broker. */
async function buildAgent(
  config: AgentConfig,
  log: Logger,
  closers: (() => Promise<void> | void)[],
  signal: AbortSignal,
): Promise<Agent> {
  const { supervisor, why } = await chooseSupervisor(supervisorOptions(config), signal);
  if (why !== undefined) log.info({ why }, "charons are run as plain processes");
  const metrics = createMetrics({ version: config.version });
  const key = loadNodeKey(config.stateDirectory, log);
  const { network, close: closeNetwork } = createNetwork(config, log);
  closers.push(closeNetwork);
  const routerHost = createRouterHost(routerHostOptions(config), log);
  closers.push(() => routerHost.close());
  const kernelEsp = config.espBackEnd === "userland" ? undefined : await network.probeKernelEsp();
  const found = kernelEsp === undefined ? "userland" : "kernel";
  const espBackEnd = config.espBackEnd === "auto" ? found : config.espBackEnd;
  const ike = createIke(
    ikeOptions(config, key, espBackEnd, supervisor, {
      onTakeOver: (router, { name, pid }) => log.warn({ router, name, pid }, "ends another IKE daemon, taking over"),
      onCommand: (command, result) => metrics.viciCommand(command, result === "ok" ? "ok" : "failed"),
      onLog: (router, line) => log.debug({ router, group: line.group, line: line.text }, "charon says"),
    }),
  );
  closers.push(() => ike.close());
  const broker = createBroker({
    url: config.transportUrl,
    exchange: config.exchange,
    topology: config.amqp,
    connection: config.amqp,
    programName: "swanherd-agent",
    log,
    onMessage: ({ method, result }) => metrics.message(method, MESSAGE_RESULTS[result]),
  });
  closers.push(() => broker.close());

  let { rpcTimeoutSeconds } = config;
  const controlPlane = createControlPlane(broker, {
    host: config.host,
    topology: config.topology,
    timeoutMs: () => rpcTimeoutSeconds * 1000,
  });
  const ports = { network, ike, clock: systemClock };
  const reporter = new Reporter(controlPlane, systemClock, { onReport: (result) => metrics.reportDone(result) }, log);
  closers.push(() => reporter.close());
  const optionsOf = (of: AgentConfig): LoopOptions =>
    loopOptions(of, reconcileOptions(of, key, { espBackEnd, kernelEsp }, routerHost));
  const initial = optionsOf(config);
  const observer: Observer = {
    onStep: (step, result) => metrics.stepDone(step, result),
    onCharonRestart: (router) => metrics.charonRestarted(router),
    onInternalError: () => metrics.internalError(),
    onDrift: (findings) => {
      for (const { kind } of findings) metrics.drifted(kind);
    },
  };
  const loop = new Loop(
    ports,
    controlPlane,
    new Reconciler(ports, initial.reconcile, observer, log),
    reporter,
    createSnapshotStore(config.stateDirectory, key, log),
    initial,
    {
      onState: (router) => metrics.setRouter(router),
      onForgotten: (router) => metrics.forgetRouter(router),
      onPass: (outcome, durationMs) => metrics.passDone(outcome.kind, durationMs / 1000),
      onFetch: (result) => metrics.fetchDone(result),
    },
    log,
  );
  closers.push(() => loop.close());

  serveControlPlane(broker, config.host, loop);
  broker.onConnected(() => {
    metrics.brokerConnected(true);
    loop.connected();
  });
  broker.onDisconnected(() => {
    metrics.brokerConnected(false);
    loop.disconnected();
  });
  const announcing = announcerOptions(config, {
    clock: systemClock,
    log,
    onState: announcedTo(broker, loop, metrics),
    onWrite: (result) => metrics.ovnWriteDone(result),
  });
  const announcer = announcing && createAnnouncer(announcing);
  if (announcer !== undefined) closers.push(() => announcer.close());
  const { enabled, intervalSeconds, agentMode, availabilityZone } = config.reportState;
  if (enabled) {
    const reporting = createStateReporter(broker, {
      host: config.host,
      mode: agentMode,
      availabilityZone,
      intervalMs: intervalSeconds * 1000,
      routers: () => loop.states().length,
      onRevived: () => loop.announcedAgain("Neutron"),
      onReport: (result) => metrics.stateReportDone(result),
      log,
      timing: systemTiming,
    });
    closers.push(() => reporting.close());
  }
  const configure = (next: AgentConfig): void => {
    ({ rpcTimeoutSeconds } = next);
    loop.configure(optionsOf(next));
  };
  const inspection = createInspection(inspectionOptions(config, key, espBackEnd));
  const inspect = (router: RouterId | undefined) => loop.inspect(router, inspection);
  return { espBackEnd, supervisor: supervisor.kind, metrics, broker, loop, announcer, inspect, configure };
}

/** Messages are taken in from the first time on, also while a later loss lasts: reports have to get out. */
function announcedTo(broker: Broker, loop: Loop, metrics: Metrics): (state: OvnState) => void {
  let wasRegistered = false;
  return ({ registered }) => {
    metrics.ovnRegistered(registered);
    if (!registered) return;
    if (wasRegistered) loop.announcedAgain("OVN");
    else broker.start();
    wasRegistered = true;
  };
}

const MESSAGE_RESULTS = {
  ok: "ok",
  failed: "failed",
  refused: "rejected",
  duplicate: "rejected",
  undecodable: "rejected",
} as const;

/** The methods that a Neutron server calls and casts (neutron-vpnaas, device_drivers/ipsec.py and ovn_ipsec.py). */
function serveControlPlane(broker: Broker, host: string, loop: Loop): void {
  const done = Promise.resolve(null);
  broker.serve(`${AGENT_TOPIC}.${host}`, {
    [SERVICE_UPDATED]: (args) => {
      loop.serviceUpdated(decodeServiceUpdatedArgs(args));
      return done;
    },
    // Answered at once: the server binds the ports only after the reply, so waiting for them would never end.
    [ADDED_TO_AGENT]: (args) => {
      loop.addedToAgent(decodeAddedArgs(args));
      return done;
    },
    [REMOVED_FROM_AGENT]: (args) => {
      loop.removedFromAgent(decodeRemovedArgs(args));
      return done;
    },
    [AGENT_UPDATED]: () => {
      loop.agentUpdated();
      return done;
    },
  });
}

function healthServer(
  config: AgentConfig,
  { metrics, broker, loop, announcer }: Agent,
  onFailure: (err: unknown, request: string) => void,
): Promise<ApiServer> {
  return startHealthServer(
    config.http.address,
    config.http.port,
    {
      metricsContentType: metrics.contentType,
      metrics: () => metrics.text(),
      health: () => ({ missing: loop.isStalled ? ["loop: no router has had its turn for minutes"] : [] }),
      ready: () => ({
        missing: [
          ...(announcer === undefined || announcer.state.registered
            ? []
            : [`ovn: ${announcer.state.why ?? "not announced"}`]),
          ...(broker.isConnected ? [] : ["broker: not connected"]),
          ...(loop.desired.kind === "fetched" ? [] : [`control plane: desired state is ${loop.desired.kind}`]),
        ],
      }),
    },
    { onFailure },
  );
}
