// A way to a broker that a packet filter can close: nothing passes then, and neither side is told.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { PrivateRabbitmq } from "../../scripts/private-rabbitmq.ts";
import type { Cleanup } from "./broker.ts";
import { startTcpProxy } from "./tcp-proxy.ts";

export type BrokerWay = {
  /** Of the broker, by this way. */
  readonly url: string;
  close(): void;
  open(): void;
};

export async function startBrokerWay(cleanup: Cleanup, rabbitmq: PrivateRabbitmq): Promise<BrokerWay> {
  const proxy = await startTcpProxy(rabbitmq.port);
  cleanup.add(() => proxy.close());
  const port = String(proxy.port);
  const table = `t${randomBytes(3).toString("hex")}-cut`;
  let isClosed = false;
  const nft = (input: string): void => void execFileSync("nft", ["-f", "-"], { input, stdio: "pipe" });
  const way: BrokerWay = {
    url: rabbitmq.url.replace(`:${String(rabbitmq.port)}/`, `:${port}/`),
    close() {
      const rules = [`tcp dport ${port} drop;`, `tcp sport ${port} drop;`].join(" ");
      nft(`table inet ${table} { chain out { type filter hook output priority 0; ${rules} }; }\n`);
      isClosed = true;
    },
    open() {
      if (isClosed) nft(`delete table inet ${table}\n`);
      isClosed = false;
    },
  };
  cleanup.add(() => way.open());
  return way;
}
