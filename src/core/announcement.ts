// What the row of our chassis has to say of this agent, and the write that is missing. Pure, and judged from what is seen
// only: whoever re-creates the row, or takes something out of it, causes the same write as the first start.
//
// The control plane looks at the row when it is created, and when the generation in it changes while an id stands beside
// it; it never looks because of the id alone (neutron_vpnaas/services/vpn/ovn/agent_monitor.py, ChassisVPNAgentWriteEvent).
// So the id comes before the generation or with it, and never behind.

/** What the row says of us. */
export type Announcement = {
  /** Nothing and an empty text are the same to the control plane. */
  readonly agentId: string | undefined;
  /** The generation that we said we have seen, as it is written there. */
  readonly answer: string | undefined;
};

export type AnnouncementStep =
  | { readonly kind: "none" }
  /** `answer` undefined: an answer that stands there has to go first, since the same one again would tell nobody. */
  | { readonly kind: "introduce"; readonly answer: string | undefined }
  | { readonly kind: "answer"; readonly answer: string };

/** `generation` is the database's now: whoever raises it asks who is alive. An id that is there stays, whatever it is. */
export function planAnnouncement({ agentId, answer }: Announcement, generation: number): AnnouncementStep {
  const wanted = String(generation);
  if (agentId === undefined || agentId === "") {
    return { kind: "introduce", answer: answer === wanted ? undefined : wanted };
  }
  return answer === wanted ? { kind: "none" } : { kind: "answer", answer: wanted };
}
