// The least disturbance, measured: every kind of change on a live connection under traffic of 200 packets/s both ways, with
// what it may cost at most. What was measured goes into docs/updates.md (SWANHERD_WRITE_DOCS=1).
import { measureUpdatesAt } from "../../support/updates-scene.ts";

await measureUpdatesAt("transit");
