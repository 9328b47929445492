// Everything this library throws. Class and code for the caller, message for the operator; what was asked to be written
// never enters a message.

export abstract class OvsdbError extends Error {
  abstract readonly code: string;
}

/** Bytes that are not JSON-RPC as RFC 7047 has it, or values that are not of the kind their column was asked for. */
export class MalformedMessageError extends OvsdbError {
  override readonly name = "MalformedMessageError";
  readonly code = "OVSDB_MALFORMED";
}

/** The server answered, and the answer was no. `error` is RFC 7047's short word for it, such as `constraint violation`. */
export class OvsdbRefusedError extends OvsdbError {
  override readonly name = "OvsdbRefusedError";
  readonly code = "OVSDB_REFUSED";
  readonly method: string;
  readonly error: string;

  constructor(method: string, error: string, details: string | undefined, options?: ErrorOptions) {
    super(`the server refused ${method}: ${error}${details === undefined ? "" : `: ${details}`}`, options);
    this.method = method;
    this.error = error;
  }
}

/** The server does not have this database. `served` are those that it has. */
export class OvsdbNoDatabaseError extends OvsdbError {
  override readonly name = "OvsdbNoDatabaseError";
  readonly code = "OVSDB_NO_DATABASE";
  readonly database: string;
  readonly served: readonly string[];

  constructor(database: string, served: readonly string[], options?: ErrorOptions) {
    super(`the server has no database ${database}, only ${served.join(", ") || "none at all"}`, options);
    this.database = database;
    this.served = served;
  }
}

/** `sent` is false when the server cannot have seen the request, so that trying again is safe. */
export class OvsdbTimeoutError extends OvsdbError {
  override readonly name = "OvsdbTimeoutError";
  readonly code = "OVSDB_TIMEOUT";
  readonly sent: boolean;

  constructor(what: string, timeoutMs: number, sent: boolean, options?: ErrorOptions) {
    super(`${what} took longer than ${timeoutMs} ms`, options);
    this.sent = sent;
  }
}

/** The connection is gone or could not be made. `sent` as in OvsdbTimeoutError. */
export class OvsdbClosedError extends OvsdbError {
  override readonly name = "OvsdbClosedError";
  readonly code = "OVSDB_CLOSED";
  readonly endpoint: string;
  readonly sent: boolean;

  constructor(endpoint: string, reason: string, sent: boolean, options?: ErrorOptions) {
    super(`no connection to ${endpoint}: ${reason}`, options);
    this.endpoint = endpoint;
    this.sent = sent;
  }
}
