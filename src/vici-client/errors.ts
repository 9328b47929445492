// Everything this library throws. Class and code for the caller, message for the operator; values sent to charon never
// enter a message, because load-shared carries keys.

export abstract class ViciError extends Error {
  abstract readonly code: string;
}

/** Bytes that are not VICI, or a value that VICI cannot carry. */
export class MalformedMessageError extends ViciError {
  override readonly name = "MalformedMessageError";
  readonly code = "VICI_MALFORMED";
}

/** charon answered, and the answer was no. `reason` is its errmsg. */
export class ViciCommandError extends ViciError {
  override readonly name = "ViciCommandError";
  readonly code = "VICI_COMMAND_FAILED";
  readonly command: string;
  readonly reason: string;

  constructor(command: string, reason: string, options?: ErrorOptions) {
    super(`charon refused ${command}: ${reason}`, options);
    this.command = command;
    this.reason = reason;
  }
}

/** This charon has no such command: an older version, or a plugin that is not loaded. */
export class ViciUnknownCommandError extends ViciError {
  override readonly name = "ViciUnknownCommandError";
  readonly code = "VICI_COMMAND_UNKNOWN";
  readonly command: string;

  constructor(command: string, options?: ErrorOptions) {
    super(`charon does not know the command ${command}`, options);
    this.command = command;
  }
}

/** This charon has no such event; a streaming command that needs it cannot be run. */
export class ViciUnknownEventError extends ViciError {
  override readonly name = "ViciUnknownEventError";
  readonly code = "VICI_EVENT_UNKNOWN";
  readonly event: string;

  constructor(event: string, options?: ErrorOptions) {
    super(`charon does not know the event ${event}`, options);
    this.event = event;
  }
}

/** `sent` is false when charon cannot have seen the command, so that trying again is safe. */
export class ViciTimeoutError extends ViciError {
  override readonly name = "ViciTimeoutError";
  readonly code = "VICI_TIMEOUT";
  readonly command: string;
  readonly timeoutMs: number;
  readonly sent: boolean;

  constructor(command: string, timeoutMs: number, sent: boolean, options?: ErrorOptions) {
    super(`${command} was not ${sent ? "answered" : "sent"} within ${timeoutMs} ms`, options);
    this.command = command;
    this.timeoutMs = timeoutMs;
    this.sent = sent;
  }
}

/** The connection to charon is gone or could not be made. `sent` as in ViciTimeoutError. */
export class ViciClosedError extends ViciError {
  override readonly name = "ViciClosedError";
  readonly code = "VICI_CLOSED";
  readonly path: string;
  readonly sent: boolean;

  constructor(path: string, reason: string, sent: boolean, options?: ErrorOptions) {
    super(`no connection to charon at ${path}: ${reason}`, options);
    this.path = path;
    this.sent = sent;
  }
}
