// Branded ids and their only constructors: holding one proves that it was checked.

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

export type ConnectionId = Branded<string, "ConnectionId">;
export type ServiceId = Branded<string, "ServiceId">;
export type RouterId = Branded<string, "RouterId">;
export type PortId = Branded<string, "PortId">;

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;

export const isUuid = (raw: string): boolean => UUID.test(raw);

function checked(kind: string, raw: string): string {
  if (!isUuid(raw)) throw new TypeError(`${kind} must be a lower-case UUID`);
  return raw;
}

export const connectionId = (raw: string): ConnectionId => checked("connection id", raw) as ConnectionId;
export const serviceId = (raw: string): ServiceId => checked("service id", raw) as ServiceId;
export const routerId = (raw: string): RouterId => checked("router id", raw) as RouterId;
export const portId = (raw: string): PortId => checked("port id", raw) as PortId;
