// The taxonomy of failures: class for people, code for logs and metrics, disposition for the loop.

/** What the loop does about a failure: try again later, refuse the input, or end the process. */
export type Disposition = "retry" | "reject" | "fatal";

export abstract class AgentError extends Error {
  abstract readonly code: string;
  abstract readonly disposition: Disposition;
}

/** The configuration cannot be used; `problems` lists all of them, one line each. Exit code 78. */
export class ConfigError extends AgentError {
  override readonly name = "ConfigError";
  readonly code = "CONFIG_INVALID";
  readonly disposition = "fatal";
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join("\n"), options);
    this.problems = problems;
  }
}

/** A message on the bus has a shape we cannot use. The caller is answered, the message is not tried again. */
export class PayloadError extends AgentError {
  override readonly name = "PayloadError";
  readonly code = "RPC_PAYLOAD_INVALID";
  readonly disposition = "reject";
}

/** The other side of an RPC answered with an exception. `remoteClass` is its class, e.g. AgentNotFoundByTypeHost. */
export class RemoteError extends AgentError {
  override readonly name = "RemoteError";
  readonly code = "RPC_REMOTE_ERROR";
  readonly disposition = "retry";
  readonly remoteClass: string;
  readonly remoteModule: string;

  constructor(remoteClass: string, remoteModule: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.remoteClass = remoteClass;
    this.remoteModule = remoteModule;
  }
}

/** charon answered, and the answer was no. */
export class CharonRefusedError extends AgentError {
  override readonly name = "CharonRefusedError";
  readonly code = "VICI_COMMAND_FAILED";
  readonly disposition = "retry";
  readonly command: string;

  constructor(command: string, reason: string, options?: ErrorOptions) {
    super(`charon refused ${command}: ${reason}`, options);
    this.command = command;
  }
}

/** The kernel refused an operation; `errno` is its name, e.g. EPERM. */
export class KernelError extends AgentError {
  override readonly name = "KernelError";
  readonly code: string;
  readonly disposition = "retry";

  constructor(operation: string, errno: string, options?: ErrorOptions) {
    super(`${operation}: ${errno}`, options);
    this.code = errno;
  }
}

/** A file of ours could not be written; `code` is the errno, e.g. ENOSPC. What was there before is there still. */
export class FileError extends AgentError {
  override readonly name = "FileError";
  readonly code: string;
  readonly disposition = "retry";

  constructor(path: string, errno: string, options?: ErrorOptions) {
    super(`cannot write ${path}: ${errno}; look at the room, the rights and the mount of its file system`, options);
    this.code = errno;
  }
}

/** Something we depend on is not there now. */
export class UnavailableError extends AgentError {
  override readonly name = "UnavailableError";
  readonly code:
    | "CHARON_DOWN"
    | "IKE_PORTS_TAKEN"
    | "BROKER_DOWN"
    | "NAMESPACE_MISSING"
    | "BRIDGE_MISSING"
    | "NFT_FAILED"
    | "OVSDB_DOWN"
    | "PORT_FAILED";
  readonly disposition = "retry";

  constructor(code: UnavailableError["code"], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An operation took longer than it was given. */
export class DeadlineError extends AgentError {
  override readonly name = "DeadlineError";
  readonly code = "DEADLINE";
  readonly disposition = "retry";
}
