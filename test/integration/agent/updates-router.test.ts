// The least disturbance in topology `router`: kinds of change that differ in how they are made, and with
// SWANHERD_WRITE_DOCS=1 all of them.
import { measureUpdatesAt } from "../../support/updates-scene.ts";

await measureUpdatesAt("router");
