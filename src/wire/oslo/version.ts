// Whether an implementation of one RPC version can answer a request of another.

const DIGITS = /^\d+$/;

function parts(version: string): readonly [number, number, number] | undefined {
  const texts = version.split(".");
  const [major, minor, revision] = [texts[0], texts[1], texts[2] ?? "0"];
  if (major === undefined || minor === undefined) return undefined;
  if (!DIGITS.test(major) || !DIGITS.test(minor) || !DIGITS.test(revision)) return undefined;
  return [Number(major), Number(minor), Number(revision)];
}

/** oslo_messaging._utils.version_is_compatible: same major, minor not above ours; the third part counts when minors are equal. */
export function isCompatibleVersion(implemented: string, requested: string): boolean {
  const ours = parts(implemented);
  const theirs = parts(requested);
  if (ours === undefined || theirs === undefined) return false;
  if (theirs[0] !== ours[0] || theirs[1] > ours[1]) return false;
  return theirs[1] < ours[1] || theirs[2] <= ours[2];
}
