// An in-process VICI server on a unix socket. It keeps registrations as charon does and refuses what charon refuses;
// what a command answers is the test's.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { emptyFramer, encodeFrame, feed } from "../../src/vici-client/framing.ts";
import { decodeMessage, encodeMessage, type Section, type SectionInput } from "../../src/vici-client/message.ts";

export type FakePeer = {
  respond(message: SectionInput): void;
  unknown(): void;
  /** Sent whether or not it was registered for. */
  event(name: string, message: SectionInput): void;
  raw(bytes: Uint8Array): void;
  hangUp(): void;
};

export type FakeRequest = { readonly name: string; readonly args: Section };
export type FakeCommand = (request: FakeRequest, peer: FakePeer) => void;

export type FakeViciOptions = {
  readonly commands?: Readonly<Record<string, FakeCommand>>;
  readonly events?: readonly string[];
  /** Called instead of confirming a registration. */
  readonly onRegister?: (name: string, peer: FakePeer) => void;
};

export class FakeVici {
  readonly path: string;
  readonly #directory: string;
  readonly #commands: Readonly<Record<string, FakeCommand>>;
  readonly #events: ReadonlySet<string>;
  readonly #onRegister: FakeViciOptions["onRegister"];
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  /** Everything clients asked, in order: "command x", "register y", "unregister z". */
  readonly log: string[] = [];
  connectionCount = 0;

  constructor(options: FakeViciOptions = {}) {
    this.#directory = mkdtempSync(join(tmpdir(), "fake-vici-"));
    this.path = join(this.#directory, "vici");
    this.#commands = options.commands ?? {};
    this.#events = new Set(options.events);
    this.#onRegister = options.onRegister;
  }

  get openCount(): number {
    return this.#sockets.size;
  }

  async start(): Promise<this> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.path, resolve));
    return this;
  }

  /** As when charon dies: every connection ends and the socket is gone. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async dispose(): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Raises an event at every connection. */
  raise(name: string, message: SectionInput): void {
    for (const socket of this.#sockets) socket.write(encodeFrame(eventPacket(name, message)));
  }

  #serve(socket: Socket): void {
    this.connectionCount += 1;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined); // the client went away in the middle: a case under test
    const registered = new Set<string>();
    const send = (body: Uint8Array) => void socket.write(encodeFrame(body));
    const peer: FakePeer = {
      respond: (message) => send(Buffer.concat([Buffer.from([1]), encodeMessage(message)])),
      unknown: () => send(Buffer.from([2])),
      event: (name, message) => send(eventPacket(name, message)),
      raw: (bytes) => void socket.write(bytes),
      hangUp: () => void socket.destroy(),
    };
    let framer = emptyFramer;
    socket.on("data", (chunk: Buffer) => {
      const fed = feed(framer, chunk);
      framer = fed.framer;
      for (const frame of fed.frames) this.#handle(frame, peer, registered, send);
    });
  }

  #handle(frame: Buffer, peer: FakePeer, registered: Set<string>, send: (body: Uint8Array) => void): void {
    const nameEnd = 2 + (frame[1] ?? 0);
    const name = frame.toString("latin1", 2, nameEnd);
    switch (frame[0]) {
      case 0: {
        this.log.push(`command ${name}`);
        const command = this.#commands[name];
        if (command === undefined) peer.unknown();
        else command({ name, args: decodeMessage(frame.subarray(nameEnd)) }, peer);
        return;
      }
      case 3:
        this.log.push(`register ${name}`);
        if (this.#onRegister !== undefined) {
          this.#onRegister(name, peer);
          return;
        }
        if (this.#events.has(name)) registered.add(name);
        send(Buffer.from([this.#events.has(name) ? 5 : 6]));
        return;
      case 4:
        this.log.push(`unregister ${name}`);
        send(Buffer.from([registered.delete(name) ? 5 : 6]));
        return;
      default:
        throw new Error(`client sent packet type ${String(frame[0])}`);
    }
  }
}

/** Started, and gone with the test that asks for it: after whatever that test registers for its end later. */
export function aFakeVici(options: FakeViciOptions = {}): Promise<FakeVici> {
  const server = new FakeVici(options);
  onTestFinished(() => server.dispose());
  return server.start();
}

function eventPacket(name: string, message: SectionInput): Buffer {
  return Buffer.concat([Buffer.from([7, name.length]), Buffer.from(name, "latin1"), encodeMessage(message)]);
}
