// What a caller of the controller is refused with; the class names go over the wire.
import { AgentError } from "../core/errors.ts";

/** Nothing usable was read since the start. An empty answer instead would take every tunnel down. */
export class NoDocumentsError extends AgentError {
  override readonly name = "NoDocumentsError";
  readonly code = "DOCUMENTS_INVALID";
  readonly disposition = "retry";

  constructor() {
    super("the documents have problems and no earlier state is in force: the controller's log lists them");
  }
}

export class UnknownRouterError extends AgentError {
  override readonly name = "UnknownRouterError";
  readonly code = "ROUTER_UNKNOWN";
  readonly disposition = "reject";

  constructor(router: string) {
    super(`no VPN service with a connection names router ${router}`);
  }
}

/** Agents would be told now this and now that. Exit code 69; nothing was served, told or written. */
export class BusTakenError extends AgentError {
  override readonly name = "BusTakenError";
  readonly code = "BUS_TAKEN";
  readonly disposition = "fatal";
}
