// The least disturbance with attachment `ovs`: kinds of change that differ in how they are made, and with
// SWANHERD_WRITE_DOCS=1 all of them.
import { test } from "vitest";
import { hasOvn } from "../../support/ovn.ts";
import { measureUpdatesAt } from "../../support/updates-scene.ts";

if (hasOvn()) await measureUpdatesAt("ovs");
else test.skip("there is no OVN here", () => undefined);
