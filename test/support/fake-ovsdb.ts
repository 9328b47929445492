// An in-process server that speaks as much of RFC 7047 as a test tells it to, on a unix socket.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";
import { emptyFramer, feed } from "../../src/ovsdb-client/framing.ts";

export type FakeMessage = {
  readonly id: unknown;
  readonly method?: string;
  readonly params?: readonly unknown[];
  readonly result?: unknown;
  readonly error?: unknown;
};

export type FakeOvsdb = {
  readonly path: string;
  /** Everything that clients sent, in order. */
  readonly received: readonly FakeMessage[];
  /** To every client, as it is. */
  send(text: string): void;
  hangUp(): void;
};

/** `answer` gives the text that is sent for a message, or nothing. */
export async function startFakeOvsdb(
  answer: (message: FakeMessage) => string | undefined = () => undefined,
): Promise<FakeOvsdb> {
  const directory = mkdtempSync(path.join(tmpdir(), "swanherd-fake-ovsdb-"));
  const socketPath = path.join(directory, "db.sock");
  const received: FakeMessage[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    let framer = emptyFramer;
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined); // the client went; that is its right
    socket.on("data", (chunk: Buffer) => {
      const fed = feed(framer, chunk);
      framer = fed.framer;
      for (const bytes of fed.messages) {
        const message = JSON.parse(bytes.toString()) as FakeMessage;
        received.push(message);
        const text = answer(message);
        if (text !== undefined) socket.write(text);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    path: socketPath,
    received,
    send(text) {
      for (const socket of sockets) socket.write(text);
    },
    hangUp() {
      for (const socket of sockets) socket.end();
    },
  };
}
