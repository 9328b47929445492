// The files that oslo.config reads: sections, options with = or :, values of several lines, options given several times.
// It refuses to know what an option means. Problems never quote a line: it may hold a password.

export type Assignment = {
  readonly section: string;
  readonly option: string;
  /** Lines of a value of several are joined by newlines, as oslo.config does it. */
  readonly value: string;
  /** The first line of it, from 1. */
  readonly line: number;
};

export type IniProblem = { readonly line: number; readonly says: string };

export type Ini = { readonly assignments: readonly Assignment[]; readonly problems: readonly IniProblem[] };

type Begun = { readonly section: string; readonly option: string; readonly lines: string[]; readonly line: number };

/** oslo_config.iniparser, to the letter; but where that ends with the first mistake, all are told. */
export function parseIni(text: string): Ini {
  const assignments: Assignment[] = [];
  const problems: IniProblem[] = [];
  let section: string | undefined;
  let begun: Begun | undefined;

  function finish(): void {
    if (begun === undefined) return;
    const { lines, ...rest } = begun;
    assignments.push({ ...rest, value: lines.join("\n") });
    begun = undefined;
  }

  // A byte order mark is what Windows' editors put there.
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/);
  for (const [index, raw] of lines.entries()) {
    const line = index + 1;
    const content = raw.trimEnd();
    // A mistake that makes others of what follows it is told alone.
    const problem = (says: string): void => void problems.push({ line, says });
    if (content === "") {
      finish();
    } else if (/^[ \t]/.test(content)) {
      // Whatever it is: oslo.config takes an indented comment for a part of the value, too.
      if (begun === undefined) problem("is indented, but there is no value that it could continue");
      else begun.lines.push(content.trimStart());
    } else if (content.startsWith("[")) {
      finish();
      section = content.slice(1, -1);
      if (!content.endsWith("]")) problem("begins a section, but does not end with ]");
      else if (section === "") problem("is a section without a name");
    } else if (/^[#;]/.test(content)) {
      finish();
    } else {
      finish();
      const at = content.search(/[:=]/);
      const option = at < 0 ? "" : content.slice(0, at).trim();
      if (at < 0) problem("is neither a section nor a comment, and has no = or : after an option");
      else if (option === "") problem("has a value without an option");
      else if (section === undefined) problem("is an option before the first section; [DEFAULT] may be missing");
      else begun = { section, option, lines: [unquoted(content.slice(at + 1).trim())], line };
    }
  }
  finish();
  return { assignments, problems };
}

/** One pair of quotes around the first line of a value is not a part of it. */
function unquoted(value: string): string {
  const [first] = value;
  return (first === '"' || first === "'") && value.endsWith(first) ? value.slice(1, -1) : value;
}
