// One router's charon: its process, files, commands and events.
import { setTimeout as sleep } from "node:timers/promises";
import type { CharonAlgorithms } from "../../core/algorithms.ts";
import type { CharonStep } from "../../core/charon-step.ts";
import { CharonRefusedError, DeadlineError, UnavailableError } from "../../core/errors.ts";
import { secretFingerprint } from "../../core/fingerprint.ts";
import type { NodeKey } from "../../core/fingerprint.ts";
import type { EspBackEnd } from "../../core/guard.ts";
import type { RouterId } from "../../core/ids.ts";
import { namespaceName, trialName } from "../../core/names.ts";
import type { ObservedCharon } from "../../core/observed.ts";
import type { Peer } from "../../core/peers.ts";
import type { CharonEvent } from "../../core/ports.ts";
import { getAlgorithms } from "../../vici-client/algorithms.ts";
import { createViciClient, type ViciClient } from "../../vici-client/client.ts";
import {
  initiate,
  loadConn,
  loadShared,
  rekey,
  terminate,
  unloadConn,
  unloadShared,
} from "../../vici-client/commands.ts";
import { ViciClosedError, ViciCommandError, ViciTimeoutError } from "../../vici-client/errors.ts";
import { decodeLogLine, type LogLine } from "../../vici-client/events.ts";
import type { Section as ViciSection } from "../../vici-client/message.ts";
import { openViciSession, type CommandOptions, type ViciRequester } from "../../vici-client/session.ts";
import { computedBy } from "../../wire/swanctl/algorithms.ts";
import {
  changeFromLog,
  failureFromLog,
  ForgottenQuickModes,
  tellsOfUnknownMessage,
  UnknownDeletes,
  UnreadableQuickModes,
} from "../../wire/swanctl/log.ts";
import { markerSecret, peerSecret, peerSection, type SharedSecret } from "../../wire/swanctl/peer.ts";
import { strongswanConf, type Retransmission } from "../../wire/swanctl/strongswan-conf.ts";
import {
  charonPaths,
  ConnectionFiles,
  hasFiles,
  removeAll,
  removeConnectionFile,
  writeCharonFile,
  writeConnectionFile,
  type CharonPaths,
} from "./files.ts";
import { observeCharon } from "./observe.ts";
import { fileText, markerData } from "./texts.ts";
import { endOtherDaemon, type OtherDaemon } from "./other-daemons.ts";
import { isAlive, startedAtMs, type CharonProcess } from "./process.ts";
import type { Supervisor } from "./supervisor.ts";

export type DaemonOptions = {
  readonly key: NodeKey;
  readonly supervisor: Supervisor;
  readonly runDirectory: string;
  readonly socketDirectory: string;
  readonly espBackEnd: EspBackEnd;
  readonly retransmission: Retransmission;
  /** Whether an IKE daemon of somebody else in a router's namespace is ended, so that ours can be started. */
  readonly takesOver: boolean;
  /** The inode behind a namespace's name; undefined when there is none. */
  readonly namespaceInode: (name: string) => number | undefined;
  readonly onCommand: (command: string, result: "ok" | "refused" | "failed") => void;
  readonly onLog: (router: RouterId, line: { readonly group: string; readonly text: string }) => void;
  /** Another IKE daemon is about to be ended. */
  readonly onTakeOver: (router: RouterId, daemon: OtherDaemon) => void;
  readonly nowMs: () => number;
};

const EVENTS = ["ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "log"];
const COMMAND_TIMEOUT_MS = 5_000;
/** From the start of the process to the first answer: a few hundred milliseconds on a busy machine. */
const ANSWER_TIMEOUT_MS = 10_000;
const ANSWER_POLL_MS = 5;
const HEARING_POLL_MS = 1;
const END_GRACE_MS = 100;
/** How long after a command of ours its log lines may still come in on the other socket. */
const OWN_LOG_LINES_MS = 3_000;

/** What is told by several lines of the log: of no use any more when lines were missed. */
const newlyHeard = () => ({
  unknownDeletes: new UnknownDeletes(),
  forgottenQuickModes: new ForgottenQuickModes(),
  unreadableQuickModes: new UnreadableQuickModes(),
});

/** One router's charon. */
export class Daemon {
  readonly #router: RouterId;
  readonly #options: DaemonOptions;
  readonly #namespace: string;
  readonly #paths: CharonPaths;
  readonly #files: ConnectionFiles;
  readonly #findOthers: (namespace: string, own: string) => readonly OtherDaemon[];
  readonly #findProcess: (strongswanConfPath: string) => CharonProcess | undefined;
  readonly #listeners = new Set<(event: CharonEvent) => void>();
  /** Names in our latest commands, and until when their log lines may come. */
  #ownNames: { readonly name: string; readonly untilMs: number }[] = [];
  #heard = newlyHeard();
  #isHearing = false;
  #process: CharonProcess | undefined;
  /** The last one that ran, and has ended by itself. */
  #former: CharonProcess | undefined;
  #vici: ViciClient | undefined;
  #told: { readonly instance: string; readonly algorithms: CharonAlgorithms } | undefined;

  constructor(
    router: RouterId,
    options: DaemonOptions,
    findProcess: (path: string) => CharonProcess | undefined,
    findOthers: (namespace: string, own: string) => readonly OtherDaemon[],
  ) {
    this.#findOthers = findOthers;
    this.#router = router;
    this.#options = options;
    this.#findProcess = findProcess;
    this.#namespace = namespaceName(router);
    this.#paths = charonPaths(options.runDirectory, options.socketDirectory, this.#namespace);
    this.#files = new ConnectionFiles(this.#paths, options.key);
  }

  get isIdle(): boolean {
    return (
      this.#listeners.size === 0 &&
      this.#vici === undefined &&
      this.#process === undefined &&
      this.#former === undefined
    );
  }

  watch(listener: (event: CharonEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async observe(signal: AbortSignal): Promise<ObservedCharon> {
    const charon = this.#running();
    if (charon === undefined || !this.#isInPlace(charon)) return { kind: "absent" };
    const instance = `${String(charon.pid)}:${charon.startTime}`;
    try {
      const algorithms = await this.#algorithmsOf(instance, signal);
      return await observeCharon(
        this.#client(),
        { instance, startedAtMs: startedAtMs(charon) },
        algorithms,
        this.#files.read(),
        this.#command(signal),
        (command, run) => this.#run(command, run),
      );
    } catch (error) {
      signal.throwIfAborted();
      if (await endsSoon(charon)) return { kind: "absent" };
      return { kind: "failing", why: `charon (pid ${String(charon.pid)}) does not answer VICI: ${describe(error)}` };
    }
  }

  /** Plugins are loaded when charon starts: asked once. */
  async #algorithmsOf(instance: string, signal: AbortSignal): Promise<CharonAlgorithms> {
    if (this.#told?.instance === instance) return this.#told.algorithms;
    const loaded = await this.#run("get-algorithms", () => getAlgorithms(this.#client(), this.#command(signal)));
    this.#told = { instance, algorithms: computedBy(loaded) };
    return this.#told.algorithms;
  }

  async start(signal: AbortSignal): Promise<void> {
    const stray = this.#running();
    if (stray !== undefined) {
      if (this.#isInPlace(stray)) return;
      await this.#options.supervisor.stop(this.#namespace, stray, signal);
      this.#running();
    }
    await this.#makeRoom(signal);
    await this.close(); // its next attempt to connect may be seconds away
    const { supervisor, espBackEnd, retransmission } = this.#options;
    const { strongswanConf: file, socket } = this.#paths;
    writeCharonFile(file, strongswanConf({ viciSocket: socket, espBackEnd, retransmission }));
    const place = { namespace: this.#namespace, strongswanConf: file, former: this.#former };
    const charon = await supervisor.start(place, signal);
    this.#process = charon;
    this.#former = undefined;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
    for (;;) {
      try {
        await askOnce(socket, this.#command(limit));
        break;
      } catch (error) {
        if (error instanceof ViciCommandError) throw error;
        signal.throwIfAborted();
        if (!isAlive(charon))
          throw new UnavailableError("CHARON_DOWN", `charon ended while starting`, { cause: error });
        if (limit.aborted) {
          const who = `charon (pid ${String(charon.pid)})`;
          throw new DeadlineError(`${who} did not answer within ${String(ANSWER_TIMEOUT_MS)} ms of its start`);
        }
        await sleep(ANSWER_POLL_MS);
      }
    }
    // Only now, since a client that was refused waits longer each time. Without events, lines about our first commands
    // would come in later and be taken for somebody else's.
    this.#client();
    while (!this.#isHearing && !limit.aborted) await sleep(HEARING_POLL_MS);
  }

  async #makeRoom(signal: AbortSignal): Promise<void> {
    const others = this.#findOthers(this.#namespace, this.#paths.strongswanConf);
    if (others.length > 0 && !this.#options.takesOver) {
      const who = others.map(({ name, pid }) => `${name} (pid ${String(pid)})`).join(", ");
      throw new UnavailableError(
        "IKE_PORTS_TAKEN",
        `${who} of somebody else has UDP 500 and 4500 in ${this.#namespace}: end it, or set takeOver: true`,
      );
    }
    for (const daemon of others) {
      this.#options.onTakeOver(this.#router, daemon);
      await endOtherDaemon(daemon, signal);
    }
  }

  async apply(step: CharonStep, signal: AbortSignal): Promise<void> {
    const { key, espBackEnd } = this.#options;
    const vici = this.#client();
    const options = this.#command(signal);
    switch (step.kind) {
      case "writeFile":
        writeConnectionFile(
          this.#paths,
          step.connection,
          fileText(key, espBackEnd, step.peer, step.member, step.marker),
        );
        return;
      case "removeFile":
        removeConnectionFile(this.#paths, step.connection);
        return;
      case "loadSecret":
        await this.#loadSecret(
          vici,
          peerSecret(step.peer, secretFingerprint(key, step.peer.leader)),
          step.peer.leader.psk.reveal(),
          options,
        );
        return;
      case "unloadSecret":
      case "unloadMarker":
        await this.#unloadSecret(vici, step.id, options);
        return;
      case "loadPeer":
        if (step.isAnew === true) await this.#unloadPeer(vici, step.peer.name, options);
        await this.#loadPeer(vici, step.peer.name, step.peer, options);
        return;
      case "unloadPeer":
        await this.#unloadPeer(vici, step.name, options);
        return;
      case "beginUpdate":
        return; // a note only
      case "reauthenticate":
        await ignoringNoMatch(
          this.#run("rekey", () => rekey(vici, { ikeId: Number(step.ikeSa), reauth: true }, options)),
        );
        return;
      case "terminateIke":
        await ignoringNoMatch(
          this.#run("terminate", () => terminate(vici, { ikeId: Number(step.ikeSa), force: true }, options)),
        );
        return;
      case "terminateChild":
        await ignoringNoMatch(
          this.#run("terminate", () => terminate(vici, { childId: Number(step.childSa), force: true }, options)),
        );
        return;
      case "initiate":
        await this.#run("initiate", () => initiate(vici, { child: step.child, ike: step.peer }, options));
        return;
      case "commit":
        await this.#loadSecret(vici, markerSecret(step.marker), markerData(key, step.marker), options);
        for (const id of step.replaces) await this.#unloadSecret(vici, id, options);
        return;
      default:
        return step satisfies never;
    }
  }

  async tryPeer(step: Extract<CharonStep, { kind: "loadPeer" }>, signal: AbortSignal): Promise<void> {
    const name = trialName(step.peer.name);
    const options = this.#command(signal);
    await this.#loadPeer(this.#client(), name, step.peer, options);
    await this.#unloadPeer(this.#client(), name, options);
  }

  async remove(signal: AbortSignal): Promise<void> {
    const charon = this.#running() ?? this.#former;
    await this.close();
    // Its configuration is written before it is started and removed below: without it there is none to be ended.
    if (charon !== undefined || hasFiles(this.#paths)) {
      await this.#options.supervisor.stop(this.#namespace, charon, signal);
    }
    this.#process = undefined;
    this.#former = undefined;
    removeAll(this.#paths);
  }

  async close(): Promise<void> {
    const vici = this.#vici;
    this.#vici = undefined;
    this.#isHearing = false;
    this.#ownNames = [];
    await vici?.close();
  }

  /** Otherwise its namespace was removed or made anew: it serves nobody, and holds nothing that can be reached. */
  #isInPlace(charon: CharonProcess): boolean {
    return charon.namespaceInode === this.#options.namespaceInode(this.#namespace);
  }

  #running(): CharonProcess | undefined {
    if (this.#process !== undefined && isAlive(this.#process)) return this.#process;
    this.#former = this.#process ?? this.#former;
    this.#process = this.#findProcess(this.#paths.strongswanConf);
    return this.#process;
  }

  #client(): ViciClient {
    this.#vici ??= createViciClient({
      path: this.#paths.socket,
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
      events: EVENTS,
      onEvent: (name, message) => this.#onEvent(name, message),
      onConnected: () => {
        this.#isHearing = true;
        this.#tell({ kind: "connected" });
      },
      onDisconnected: () => {
        this.#isHearing = false;
        this.#ownNames = [];
        this.#heard = newlyHeard();
        this.#tell({ kind: "lost" });
      },
    });
    return this.#vici;
  }

  readonly #command = (signal: AbortSignal): CommandOptions => ({ signal, timeoutMs: COMMAND_TIMEOUT_MS });

  async #loadPeer(vici: ViciRequester, name: string, peer: Peer, options: CommandOptions): Promise<void> {
    this.#expect(name);
    await this.#run("load-conn", () => loadConn(vici, name, peerSection(peer, this.#options.espBackEnd), options));
  }

  async #unloadPeer(vici: ViciRequester, name: string, options: CommandOptions): Promise<void> {
    this.#expect(name);
    await ignoringNoMatch(this.#run("unload-conn", () => unloadConn(vici, name, options)));
  }

  async #loadSecret(vici: ViciRequester, secret: SharedSecret, data: string, options: CommandOptions): Promise<void> {
    this.#expect(secret.id);
    await this.#run("load-shared", () => loadShared(vici, { ...secret, data }, options));
  }

  async #unloadSecret(vici: ViciRequester, id: string, options: CommandOptions): Promise<void> {
    this.#expect(id);
    await ignoringNoMatch(this.#run("unload-shared", () => unloadShared(vici, id, options)));
  }

  async #run<T>(command: string, run: () => Promise<T>): Promise<T> {
    try {
      const answer = await run();
      this.#options.onCommand(command, "ok");
      return answer;
    } catch (error) {
      if (error instanceof ViciCommandError) {
        this.#options.onCommand(command, "refused");
        throw new CharonRefusedError(command, error.reason, { cause: error });
      }
      this.#options.onCommand(command, "failed");
      if (error instanceof ViciClosedError) throw new UnavailableError("CHARON_DOWN", error.message, { cause: error });
      if (error instanceof ViciTimeoutError) throw new DeadlineError(error.message, { cause: error });
      throw error;
    }
  }

  /** Without events no line comes: a name that waits for none would hide the next change by somebody else. */
  #expect(name: string): void {
    if (!this.#isHearing) return;
    const nowMs = this.#options.nowMs();
    this.#ownNames = this.#ownNames.filter(({ untilMs }) => untilMs >= nowMs);
    this.#ownNames.push({ name, untilMs: nowMs + OWN_LOG_LINES_MS });
  }

  #onEvent(name: string, message: ViciSection): void {
    // What an SA's event says is read back from charon, so nothing in it needs to be understood here.
    if (name === "log") this.#onLog(decodeLogLine(message));
    else this.#tell({ kind: "sasChanged" });
  }

  #onLog(event: LogLine): void {
    this.#options.onLog(this.#router, { group: event.group, text: event.text });
    const failure = failureFromLog(event.text);
    if (failure !== undefined) {
      this.#tell({ kind: "failed", peer: event.ikeSaName, failure: { ...failure, atMs: this.#options.nowMs() } });
    }
    const spiOut = this.#heard.unknownDeletes.hear(event);
    const { ikeSaName: peer } = event;
    if (spiOut !== undefined && peer !== undefined) this.#tell({ kind: "endedByPeer", peer, spiOut });
    const count = this.#heard.forgottenQuickModes.hear(event);
    const ikeSa = String(event.ikeSaUniqueId);
    if (count !== undefined) this.#tell({ kind: "quickModesForgotten", ikeSa, count });
    const isUnreadable = this.#heard.unreadableQuickModes.hear(event);
    if (isUnreadable !== undefined) this.#tell({ kind: "quickModeUnreadable", ikeSa, isUnreadable });
    if (tellsOfUnknownMessage(event.text)) this.#tell({ kind: "quickModeUnknown", ikeSa });
    const changed = changeFromLog(event.text);
    if (changed === undefined || this.#isOwn(event.text)) return;
    this.#tell({ kind: "changedByOthers", finding: { kind: changed, what: `charon: ${event.text}` } });
  }

  /** A command of ours makes one such line at most: the next one that names the same thing is somebody else's. */
  #isOwn(line: string): boolean {
    const nowMs = this.#options.nowMs();
    const at = this.#ownNames.findIndex(({ name, untilMs }) => untilMs >= nowMs && line.includes(name));
    if (at >= 0) this.#ownNames.splice(at, 1);
    return at >= 0;
  }

  #tell(event: CharonEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

async function askOnce(socket: string, options: CommandOptions): Promise<void> {
  const session = await openViciSession({ path: socket });
  try {
    await session.request("version", {}, options);
  } finally {
    await session.close();
  }
}

/** The sockets of a process that is killed are closed a moment before it is gone. */
async function endsSoon(charon: CharonProcess): Promise<boolean> {
  const startedAt = performance.now();
  while (isAlive(charon)) {
    if (performance.now() - startedAt > END_GRACE_MS) return false;
    await sleep(ANSWER_POLL_MS);
  }
  return true;
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The SA, secret or config was gone already, which is what was wanted (vici_control.c, vici_config.c: "not found"). */
async function ignoringNoMatch(command: Promise<unknown>): Promise<void> {
  try {
    await command;
  } catch (error) {
    if (!(error instanceof CharonRefusedError) || !/no matching|not found|no CHILD_SA|no IKE_SA/i.test(error.message))
      throw error;
  }
}
