// Ids that follow from names: the same documents give the same ids on every machine and after every restart.
import { uuidOfName } from "../../core/names.ts";

// Fixed for ever: another value would be another id for every document without one, a delete and a create for all.
const NAMESPACE = "5f0d2f8e-3c1b-4b5e-9d54-6a7c1e0b9a42";

/** In swanherd's own namespace. The parts are joined by NUL, which no name contains. */
export const derivedId = (...parts: readonly string[]): string => uuidOfName(NAMESPACE, parts.join("\0"));
