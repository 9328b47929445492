// Tells agents that something about a router changed. A cast that cannot be sent is sent later: an agent that stayed
// connected would otherwise hear of it at its next unprompted fetch only.
import type { Logger } from "pino";
import { AGENT_TOPIC, encodeServiceUpdatedArgs, SERVICE_UPDATED } from "../wire/neutron/rpc.ts";
import type { Bus } from "./bus.ts";
import { routerTexts, type Payloads } from "./payload.ts";

export type Announcement = { readonly host: string; readonly router: string };

/**
 * Who has to hear of a change: the host of every router that is told something else now. A router that moved or
 * vanished concerns its old host, too. Before the first state everything is new.
 */
export function planAnnouncements(before: Payloads | undefined, now: Payloads): readonly Announcement[] {
  const old = before === undefined ? new Map<string, never>() : routerTexts(before);
  const current = routerTexts(now);
  return [...new Set([...old.keys(), ...current.keys()])].sort().flatMap((router): Announcement[] => {
    const was: { readonly host: string; readonly text: string } | undefined = old.get(router);
    const is = current.get(router);
    if (was?.host === is?.host && was?.text === is?.text) return [];
    return [...new Set([was?.host, is?.host])].flatMap((host) => (host === undefined ? [] : [{ host, router }]));
  });
}

export type Announcer = { announce(announcements: readonly Announcement[]): void; close(): void };

export type AnnouncerOptions = { readonly bus: Pick<Bus, "cast">; readonly log: Logger; readonly retryMs: number };

export function createAnnouncer({ bus, log, retryMs }: AnnouncerOptions): Announcer {
  const waiting = new Map<string, Announcement>();
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  async function send(announcement: Announcement): Promise<void> {
    const { host, router } = announcement;
    const key = JSON.stringify([host, router]);
    try {
      await bus.cast({ topic: AGENT_TOPIC, server: host }, SERVICE_UPDATED, encodeServiceUpdatedArgs(router));
      log.info({ host, router }, "agent told of a change");
    } catch (err) {
      if (isClosed) return;
      // The broker tells of its own loss; before the first connect this is the ordinary course.
      log.debug({ host, router, retryDelayMs: retryMs, err }, "agent not told of a change, will retry");
      waiting.set(key, announcement);
      retry ??= setTimeout(again, retryMs);
      return;
    }
    waiting.delete(key);
  }

  function again(): void {
    retry = undefined;
    for (const announcement of waiting.values()) void send(announcement);
  }

  return {
    announce(announcements) {
      for (const announcement of announcements) void send(announcement);
    },
    close() {
      isClosed = true;
      clearTimeout(retry);
    },
  };
}
