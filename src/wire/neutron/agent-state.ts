// report_state: how Neutron learns that an L3 agent is alive (neutron, agent/rpc.py; agents_db.py on the server's side).
import { z } from "zod";
import { PayloadError } from "../../core/errors.ts";
import { describeIssue } from "./words.ts";

export const REPORTS_TOPIC = "q-reports-plugin";
export const REPORT_STATE = "report_state";

export type AgentMode = "legacy" | "dvr_snat";

export type L3AgentState = {
  readonly host: string;
  readonly mode: AgentMode;
  readonly availabilityZone: string;
  readonly routers: number;
  /** Until the server has taken the first report: it then looks at our clock. */
  readonly isFirst: boolean;
  readonly uuid: string;
  readonly at: Date;
};

/** The server wants a fraction of a second and no `Z`: anything else is an exception there (strptime). */
const timeText = (at: Date): string => at.toISOString().slice(0, -1);

/** Nested twice, as the server unpacks it. */
export const encodeStateArgs = (state: L3AgentState): Readonly<Record<string, unknown>> => ({
  agent_state: {
    agent_state: {
      binary: "neutron-l3-agent",
      host: state.host,
      availability_zone: state.availabilityZone,
      topic: "l3_agent",
      agent_type: "L3 agent",
      ...(state.isFirst ? { start_flag: true } : {}),
      uuid: state.uuid,
      configurations: {
        agent_mode: state.mode,
        handle_internal_only_routers: false,
        interface_driver: "",
        log_agent_heartbeats: false,
        extensions: ["vpnaas"],
        routers: state.routers,
        ex_gw_ports: state.routers,
        interfaces: 0,
        floating_ips: 0,
      },
    },
  },
  time: timeText(state.at),
});

/** `stale`: the server has been started since, or our clock is behind, and the report counts for nothing. */
export type StateAnswer = "new" | "alive" | "revived" | "stale";

export function decodeStateAnswer(answer: unknown): StateAnswer {
  const parsed = z.enum(["new", "alive", "revived"]).nullable().safeParse(answer);
  if (!parsed.success) throw new PayloadError(`answer to ${REPORT_STATE}: ${describeIssue(parsed.error, answer)}`);
  return parsed.data ?? "stale";
}
