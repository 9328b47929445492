// What the library offers; inside the project the files are imported themselves.
export { type Endpoint, endpointText, type ParsedEndpoints, parseEndpoints } from "./endpoint.ts";
export * from "./errors.ts";
export { MAX_DEPTH, MAX_MESSAGE_BYTES } from "./framing.ts";
export type { Json } from "./message.ts";
export { countOf, encodeMapChange, type MapChange, type OperationResult } from "./operations.ts";
export {
  openOvsdbSession,
  type OvsdbSession,
  type RequestOptions,
  SERVER_DATABASE,
  type SessionOptions,
  type TlsIdentity,
} from "./session.ts";
export type { ColumnKind, Columns, Condition, Row, Tables, TableSpec, TableSpecs } from "./tables.ts";
