// Desired against reported: what the agent says on its socket, and what the controller heard from it.
import { askSocket } from "./run.ts";
import type { Finding, SubjectAgent } from "./subject.ts";
import type { Wanted, WantedConnection } from "./wanted.ts";

export type Row = { readonly id: string; readonly status: string; readonly inSync: boolean | undefined };
export type Report = {
  readonly services: readonly Row[];
  readonly connections: readonly Row[];
  readonly startedAtMs: number;
};

type Status = {
  readonly startedAtMs?: number;
  readonly routers?: readonly { readonly services?: readonly Row[]; readonly connections?: readonly Row[] }[];
};

/** Undefined: nobody answers. */
export async function readReport(controlSocket: string): Promise<Report | undefined> {
  const status = (await askSocket(controlSocket, "/status")) as Status | undefined;
  if (status?.routers === undefined) return undefined;
  return {
    services: status.routers.flatMap((router) => router.services ?? []),
    connections: status.routers.flatMap((router) => router.connections ?? []),
    startedAtMs: status.startedAtMs ?? 0,
  };
}

export async function checkReported(
  wanted: Wanted,
  agents: readonly SubjectAgent[],
  controllerSocket: string,
): Promise<readonly Finding[]> {
  const told = await Promise.all(
    agents.map(async (agent) => {
      const connections = wanted.connections.filter(({ host }) => host === agent.host);
      return checkReport(`agent ${agent.host}`, await readReport(agent.controlSocket), connections, wanted);
    }),
  );
  const heard = checkReport("controller", await readReport(controllerSocket), wanted.connections, wanted);
  return [...told.flat(), ...heard];
}

function checkReport(
  who: string,
  report: Report | undefined,
  connections: readonly WantedConnection[],
  wanted: Wanted,
): readonly Finding[] {
  if (report === undefined) return [{ invariant: "reported", about: who, text: "does not answer" }];
  const finding = (about: string, text: string): Finding => ({ invariant: "reported", about, text: `${who}: ${text}` });
  const surplus = report.connections
    .filter(({ id }) => !connections.some((connection) => connection.id === id))
    .map(({ id, status }) => finding(id, `${status}, unwanted`));
  const rows = connections.flatMap(({ id, isEnabled }) => {
    const row = report.connections.find((one) => one.id === id);
    const expected = wanted.up.has(id) ? "ACTIVE" : "DOWN";
    if (row === undefined) return [finding(id, "not listed")];
    return [
      ...(row.status === expected ? [] : [finding(id, `${row.status}, not ${expected}`)]),
      ...(row.inSync === false && isEnabled ? [finding(id, "not in sync")] : []),
    ];
  });
  return [...surplus, ...rows];
}
