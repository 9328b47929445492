// A wire to a broker that a test can cut and mend, for one connection of many.
import { createServer, connect, type Socket } from "node:net";

export type TcpProxy = {
  readonly port: number;
  /** Ends what goes through it, and refuses what comes. */
  cut(): void;
  mend(): void;
  /** Ends the next one after so many answers of the broker. Returns how to ask whether it has. */
  cutNextAfter(answers: number): () => boolean;
  /** Carries nothing any more and ends nothing: what comes is taken, and gets no answer. */
  freeze(): void;
  close(): Promise<void>;
};

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const pairs = new Set<readonly [Socket, Socket]>();
  let isCut = false;
  let isFrozen = false;
  let cutNext: ((near: Socket, far: Socket) => void) | undefined;
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // Ends of connections are what it is for.
    socket.on("error", () => socket.destroy());
  };
  const server = createServer((near) => {
    keep(near);
    if (isCut) {
      near.destroy();
      return;
    }
    if (isFrozen) return;
    const far = connect(targetPort, "127.0.0.1");
    keep(far);
    // A broker that refuses is one for who comes this way, too.
    far.on("error", () => {
      if (!isFrozen) near.destroy();
    });
    near.pipe(far);
    far.pipe(near);
    cutNext?.(near, far);
    cutNext = undefined;
    const pair = [near, far] as const;
    pairs.add(pair);
    near.on("close", () => pairs.delete(pair));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const destroyAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    cut() {
      isCut = true;
      destroyAll();
    },
    mend: () => void (isCut = false),
    cutNextAfter(answers) {
      let hasCut = false;
      cutNext = (near, far) => {
        let left = answers;
        far.unpipe(near);
        far.on("data", (chunk: Buffer) => {
          if (hasCut) return;
          near.write(chunk);
          left -= 1;
          if (left > 0) return;
          hasCut = true;
          near.end();
          far.destroy();
        });
        far.resume();
      };
      return () => hasCut;
    },
    freeze() {
      isFrozen = true;
      for (const [near, far] of pairs) {
        near.unpipe(far).resume();
        far.unpipe(near).resume();
      }
    },
    async close() {
      destroyAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
