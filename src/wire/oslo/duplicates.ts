// Which messages a listener has seen lately, by their `_unique_id`.

/** oslo.messaging _MsgIdCache: a FIFO of the last 16 ids per listener. */
const REMEMBERED_COUNT = 16;

export type SeenIds = readonly string[];
export const noneSeen: SeenIds = [];

export function remember(seen: SeenIds, uniqueId: string): { seen: SeenIds; isDuplicate: boolean } {
  if (seen.includes(uniqueId)) return { seen, isDuplicate: true };
  return { seen: [...seen, uniqueId].slice(-REMEMBERED_COUNT), isDuplicate: false };
}
