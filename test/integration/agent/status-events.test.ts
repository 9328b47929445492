// Status follows charon's events, not a clock: nothing is polled here, and what charon says is on the bus at once.
import { afterAll, expect, test } from "vitest";
import { baseDocuments, connectionPair, type RouterIds } from "../../../scripts/lab-documents.ts";
import { until, type LabDocument } from "../../../scripts/lab.ts";
import { terminate } from "../../../src/vici-client/commands.ts";
import { decodeEvent } from "../../../src/vici-client/events.ts";
import { openViciSession } from "../../../src/vici-client/session.ts";
import { subscribe } from "../../../src/vici-client/subscription.ts";
import { createCleanup } from "../../support/broker.ts";
import { areActive, connectionIs, labForThisFile } from "../../support/lab.ts";
import { tapStatusReports } from "../../support/status-tap.ts";

const LIMIT_MS = 1_000;
/** Longer than changes of one connection are merged. */
const QUIET_MS = 1_200;

const documents =
  (rightAdmin = true) =>
  (routers: RouterIds): readonly LabDocument[] => [
    ...baseDocuments(routers),
    ...connectionPair({ name: "site", left: ["10.1.0.0/24"], right: ["10.2.0.0/24"] }).map((one) =>
      one["name"] === "site-back" ? { ...one, admin_state_up: rightAdmin } : one,
    ),
  ];

const lab = await labForThisFile({
  documents: documents(),
  // Neither looks at SAs nor passes by themselves: what is told is told because charon spoke.
  agentConfig: { listSasIntervalSeconds: 0, passIntervalSeconds: 3600 },
});
const cleanup = createCleanup();
afterAll(() => cleanup.run());

const socketOf = (router: string): string => `/run/charon.qvpn-${router}.vici`;

type Updown = { readonly atMs: number; readonly isUp: boolean };
const events: Updown[] = [];
await areActive(lab, "site");
const tap = await tapStatusReports(lab.rabbitmq.url);
cleanup.add(() => tap.close());
const subscription = await subscribe({
  path: socketOf(lab.routers.left),
  events: ["child-updown"],
  onEvent(name, message) {
    const atMs = performance.now();
    const event = decodeEvent(name, message);
    if (event.kind === "childUpdown") events.push({ atMs, isUp: event.isUp });
  },
});
cleanup.add(() => subscription.close());
const tappedSinceMs = performance.now();
const { id: connection } = await connectionIs(lab.left, "site", "ACTIVE");

/** From charon's event to the report on the bus, in ms. */
async function delayOf(status: "ACTIVE" | "DOWN", cause: () => unknown): Promise<number> {
  const [seenEvents, seenReports] = [events.length, tap.reports.length];
  await cause();
  const event = await until(`charon says ${status}`, 20_000, () =>
    events.slice(seenEvents).find(({ isUp }) => isUp === (status === "ACTIVE")),
  );
  const report = await until(`${status} is on the bus`, 20_000, () =>
    tap.reports.slice(seenReports).find(({ statuses }) => statuses.get(connection) === status),
  );
  return report.atMs - event.atMs;
}

/** A change so long ago that the next one is told at once. */
const isQuiet = (): Promise<boolean> =>
  until("nothing was reported for a while", 20_000, () => {
    return performance.now() - (tap.reports.at(-1)?.atMs ?? tappedSinceMs) > QUIET_MS;
  });

test("B-25: DOWN and ACTIVE are on the bus within a second of charon's event when the peer is switched off and on", async ({
  annotate,
}) => {
  for (let round = 0; round < 3; round += 1) {
    await isQuiet();
    const down = await delayOf("DOWN", () => {
      lab.write(documents(false)(lab.routers));
    });
    await isQuiet();
    const up = await delayOf("ACTIVE", () => {
      lab.write(documents(true)(lab.routers));
    });
    await annotate(`DOWN after ${down.toFixed(1)} ms, ACTIVE after ${up.toFixed(1)} ms`);
    expect(Math.max(down, up)).toBeLessThan(LIMIT_MS);
  }
});

test("the same holds when the other gateway's charon ends the SA by itself, its agent being stopped", async ({
  annotate,
}) => {
  await areActive(lab, "site");
  await isQuiet();
  await lab.right.stop();
  const vici = await openViciSession({ path: socketOf(lab.routers.right) });
  try {
    const [sa] = await lab.right.ikeSas(lab.routers.right);
    const name = sa?.name ?? "";
    // Without its connection that charon refuses what the left one tries next.
    await vici.request("unload-conn", { name });
    const down = await delayOf("DOWN", () => terminate(vici, { ike: name }));
    await isQuiet();
    const up = await delayOf("ACTIVE", () => lab.right.start());
    await annotate(`DOWN after ${down.toFixed(1)} ms, ACTIVE after ${up.toFixed(1)} ms`);
    expect(Math.max(down, up)).toBeLessThan(LIMIT_MS);
  } finally {
    await vici.close();
  }
});
