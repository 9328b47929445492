// The rows of docs/neutron.md: each defect of the stock agent, and the test that proves its cure.

export const DEFECTS_FILE = "docs/neutron.md";

export type Defect = { readonly number: string; readonly proof: string };
/** As the file writes it: a name of `test.each` has its templates. */
export type NamedTest = { readonly file: string; readonly name: string };

export const readDefects = (markdown: string): readonly Defect[] =>
  markdown.split("\n").flatMap((line) => {
    const [number = "", , , proof] = line.replace(/^\| | \|$/g, "").split(" | ");
    return number.startsWith("B-") && proof !== undefined ? [{ number: number.trim(), proof: proof.trim() }] : [];
  });

/** Undefined where the row says why there is none. */
export function testOf({ proof }: Defect): NamedTest | undefined {
  const [, file, name] = /^test: `([^:]+)::(.+)`$/.exec(proof) ?? [];
  return file === undefined || name === undefined ? undefined : { file, name };
}

/** Of the name of a test; what stands for an argument of `test.each` may be anything. */
export const patternOf = (name: string): string => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/%[a-z]/g, ".+");
