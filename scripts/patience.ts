// How long tests wait before they give up: one factor for all deadlines, for machines on which everything is slower.
// What a test expects does not depend on it.

const FACTOR = readFactor(process.env["SWANHERD_TEST_PATIENCE"]);

/** A deadline in ms as it is on this machine. */
export const patiently = (ms: number): number => ms * FACTOR;

function readFactor(text = "1"): number {
  const factor = Number(text);
  if (!(factor >= 1)) throw new Error(`SWANHERD_TEST_PATIENCE is "${text}", and not a number of at least 1`);
  return factor;
}
