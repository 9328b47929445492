// A wire to a broker that a test can cut and mend, for one connection of many.
import { createServer, connect, type Socket } from "node:net";

export type TcpProxy = {
  readonly port: number;
  /** Ends what goes through it, and refuses what comes. */
  cut(): void;
  mend(): void;
  /** Carries nothing any more and ends nothing: what comes is taken, and gets no answer. */
  freeze(): void;
  close(): Promise<void>;
};

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const pairs = new Set<readonly [Socket, Socket]>();
  let isCut = false;
  let isFrozen = false;
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
