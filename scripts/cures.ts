// That each test which docs/neutron.md names for a defect of the stock agent sees it: with the cure reverted it has to fail.
// Everything happens in a copy of the working tree; README.md says how to run it.
import { parseArgs } from "node:util";
import { copyTree, type TreeCopy } from "./cures/copy.ts";
import { isIntegration, readCures, type Cure } from "./cures/cures.ts";
import { fails, passes } from "./cures/prove.ts";

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => stop.abort(new Error(`ended by ${name}`)));
}
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const shownSeconds = (seconds: number): string => `${seconds.toFixed(1)} s`;

/** Alone both times: what fails for want of another test before it would prove nothing. */
async function isProved(cure: Cure, copy: TreeCopy, isWhyWanted: boolean): Promise<boolean> {
  const asItStands = await passes(cure, copy, stop.signal);
  if (!asItStands.isProof) {
    say(`${cure.number} does not pass as it stands (${shownSeconds(asItStands.seconds)}): ${asItStands.what}`);
    return false;
  }
  const { isProof, what, seconds } = await fails(cure, copy, stop.signal);
  const isTold = isProof ? "fails with its cure reverted" : what;
  say(`${cure.number} ${isTold} (${shownSeconds(seconds)})${isProof && isWhyWanted ? `: ${what}` : ""}`);
  return isProof;
}

async function prove(cures: readonly Cure[], isWhyWanted: boolean): Promise<number> {
  const startedAt = performance.now();
  const copy = copyTree();
  let proved = 0;
  try {
    for (const cure of cures) if (await isProved(cure, copy, isWhyWanted)) proved += 1;
  } finally {
    copy.remove();
  }
  const seconds = (performance.now() - startedAt) / 1000;
  say(`${proved} of ${cures.length} fail with their cure reverted (${seconds.toFixed(0)} s)`);
  return proved === cures.length ? 0 : 1;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { why: { type: "boolean", default: false }, unit: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const all = readCures();
  const unknown = positionals.filter((number) => !all.some((cure) => cure.number === number));
  if (unknown.length > 0) {
    say(`no defect with a test: ${unknown.join(", ")}`);
    return 64;
  }
  const cures = all.filter(
    (cure) => (positionals.length === 0 || positionals.includes(cure.number)) && !(values.unit && isIntegration(cure)),
  );
  if (cures.some(isIntegration) && process.getuid?.() !== 0) {
    say("most of them want root (network namespaces, charon, RabbitMQ): run it as root, or with --unit");
    return 77;
  }
  try {
    return await prove(cures, values.why);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    say("interrupted: the next ./scripts/test takes away what the test that ran has left");
    return 130;
  }
}

process.exitCode = await main();
