// Every document under its name, its schema's problems told once: references are followed here.
import type { Identified } from "./catalogue.ts";
import { explainIssues, shown, suggestion, type DocumentProblem } from "./problem.ts";
import { isKind, KINDS, SCHEMAS, type Kind, type Parsed } from "./schema.ts";
import { derivedId } from "./uuid.ts";
import type { RawDocument } from "./yaml.ts";

/** Networks without project live here: a project's name is never empty. */
const EVERYWHERE = "";

export type Entry<K extends Kind> = {
  readonly kind: K;
  readonly id: string;
  readonly project: string;
  readonly value: Parsed<K>;
  readonly raw: RawDocument;
};

/** What every document becomes the same way. */
export const identified = ({ id, project, value }: Entry<Kind>): Identified => ({
  id,
  project,
  name: value.name,
  description: value.description,
});

/** A name whose document has problems of its own: whoever refers to it is not told again. */
type Named<K extends Kind> = Entry<K> | "spoilt";

type Shelf = { readonly [K in Kind]: Map<string, Named<K>> };

const keyOf = (project: string, name: string): string => `${project}\0${name}`;

export class NameIndex {
  readonly problems: DocumentProblem[] = [];
  readonly #shelf: Shelf = {
    Router: new Map(),
    Network: new Map(),
    Subnet: new Map(),
    IkePolicy: new Map(),
    IpsecPolicy: new Map(),
    EndpointGroup: new Map(),
    VpnService: new Map(),
    IpsecSiteConnection: new Map(),
  };
  readonly #places = new Map<string, string>();
  readonly #ids = new Map<string, string>();

  constructor(documents: readonly RawDocument[]) {
    for (const raw of documents) {
      const kind = raw.value["kind"];
      if (isKind(kind)) this.#add(kind, raw);
      else this.report(raw, ["kind"], kindProblem(kind));
    }
  }

  report(raw: RawDocument, at: readonly PropertyKey[], text: string): void {
    this.problems.push({ file: raw.file, line: raw.lineOf(at), text });
  }

  all<K extends Kind>(kind: K): readonly Entry<K>[] {
    return [...this.#shelf[kind].values()].filter((entry): entry is Entry<K> => entry !== "spoilt");
  }

  /** The document that a name means in a project, undefined (and told, unless it is spoilt) when there is none. */
  find<K extends Kind>(kind: K, name: string, from: Entry<Kind>, at: readonly PropertyKey[]): Entry<K> | undefined {
    const shelf: ReadonlyMap<string, Named<K>> = this.#shelf[kind];
    const found = shelf.get(keyOf(from.project, name)) ?? shelf.get(keyOf(EVERYWHERE, name));
    if (found === "spoilt") return undefined;
    if (found === undefined) {
      const known = [...shelf.keys()].flatMap((key) => {
        const [project = "", known = ""] = key.split("\0");
        return project === from.project || project === EVERYWHERE ? [known] : [];
      });
      const hint = suggestion(name, known);
      this.report(
        from.raw,
        at,
        `${at.map(String).join(".")} names ${kind} ${shown(name)}, which project ${from.project} does not have${hint}`,
      );
    }
    return found;
  }

  #add(kind: Kind, raw: RawDocument): void {
    const schema = SCHEMAS[kind];
    const parsed = schema.safeParse(raw.value);
    const label = typeof raw.value["name"] === "string" ? `${kind} ${raw.value["name"]}: ` : `${kind}: `;
    if (!parsed.success) {
      for (const { at, text } of explainIssues(parsed.error, raw.value, schema)) this.report(raw, at, label + text);
      this.#spoil(kind, raw);
      return;
    }
    const project = parsed.data.project ?? EVERYWHERE;
    const entry = {
      kind,
      id: parsed.data.id ?? derivedId(kind, project, parsed.data.name),
      project,
      value: parsed.data,
      raw,
    };
    if (this.#isTaken(entry, label)) return;
    (this.#shelf[kind] as Map<string, unknown>).set(keyOf(project, parsed.data.name), entry);
  }

  #isTaken(
    entry: { kind: Kind; id: string; project: string; value: { name: string }; raw: RawDocument },
    label: string,
  ): boolean {
    const place = `${entry.raw.file}:${entry.raw.lineOf(["name"])}`;
    const byName = [entry.kind, keyOf(entry.project, entry.value.name)].join("\0");
    const sameName = this.#places.get(byName);
    if (sameName !== undefined) {
      const where = entry.project === EVERYWHERE ? "" : ` in project ${entry.project}`;
      this.report(
        entry.raw,
        ["name"],
        `${label}name ${shown(entry.value.name)} is taken${where} by ${sameName}: rename one`,
      );
      return true;
    }
    const sameId = this.#ids.get(entry.id);
    if (sameId !== undefined) {
      this.report(entry.raw, ["id"], `${label}id ${entry.id} is taken by ${sameId}: every document has its own`);
      return true;
    }
    this.#places.set(byName, place);
    this.#ids.set(entry.id, place);
    return false;
  }

  #spoil(kind: Kind, raw: RawDocument): void {
    const { name, project } = raw.value;
    if (typeof name !== "string") return;
    const fallback = kind === "Network" ? EVERYWHERE : "default";
    const key = keyOf(typeof project === "string" ? project : fallback, name);
    const shelf = this.#shelf[kind] as Map<string, unknown>;
    if (!shelf.has(key)) shelf.set(key, "spoilt");
  }
}

function kindProblem(kind: unknown): string {
  if (kind === undefined) return `kind is missing: allowed ${KINDS.join(", ")}`;
  return `kind is ${shown(kind)}: ${typeof kind === "string" ? suggestion(kind, KINDS).replace(/^; /, "") : `allowed ${KINDS.join(", ")}`}`;
}
