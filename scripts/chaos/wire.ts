// The network between one program and the broker: a wire that can be cut, and one that is slow.
import { createServer, connect, type Server, type Socket } from "node:net";

export type Wire = {
  readonly port: number;
  /** Ends what goes through it, and refuses what comes. */
  readonly cut: () => void;
  /** How long every piece of data takes from now on. */
  readonly delay: (ms: number) => void;
  /** Whole and without delay again. */
  readonly mend: () => void;
  readonly close: () => Promise<void>;
};

/** `targetPort` is asked for each connection: the wire is there before the broker. */
export async function startWire(targetPort: () => number | undefined): Promise<Wire> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let delayMs = 0;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // Ends of connections are what it is for.
    socket.on("error", () => socket.destroy());
  };
  const forward = (from: Socket, to: Socket): void => {
    // Order is kept also while the delay changes: each piece waits for the one before it.
    let last = Promise.resolve();
    const then = (act: () => void): void => {
      const due = performance.now() + delayMs;
      last = last.then(() => waitUntil(due)).then(act);
    };
    from.on("data", (chunk: Buffer) =>
      then(() => {
        if (to.writable) to.write(chunk);
      }),
    );
    from.on("end", () => then(() => to.end()));
    from.on("close", () => then(() => to.destroy()));
  };
  const server = createServer((near) => {
    keep(near);
    const port = targetPort();
    if (isCut || port === undefined) {
      near.destroy();
      return;
    }
    const far = connect(port, "127.0.0.1");
    keep(far);
    forward(near, far);
    forward(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const destroyAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: portOf(server),
    cut() {
      isCut = true;
      destroyAll();
    },
    delay: (ms) => void (delayMs = ms),
    mend() {
      isCut = false;
      delayMs = 0;
    },
    async close() {
      destroyAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function waitUntil(due: number): Promise<void> {
  const leftMs = due - performance.now();
  if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
