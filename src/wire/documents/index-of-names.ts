// Every document under its name, its schema's problems told once: references are followed here.
import type { Identified } from "./catalogue.ts";
import { dotted, explainIssues, shown, suggestion, type DocumentNote, type DocumentProblem } from "./problem.ts";
import { placesOfReferences, withStandIns } from "./spoilt.ts";
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

/** Who names another document. */
type Referrer = Pick<Entry<Kind>, "project" | "raw">;

/** A name whose document has problems of its own: whoever refers to it is not told again. */
type Named<K extends Kind> = Entry<K> | "spoilt";

type Shelf = { readonly [K in Kind]: Map<string, Named<K>> };

const keyOf = (project: string, name: string): string => `${project}\0${name}`;

export class NameIndex {
  readonly problems: DocumentProblem[] = [];
  readonly notes: DocumentNote[] = [];
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
  /** Names of documents whose kind is none: whatever is meant by them is spoilt. */
  readonly #ofNoKind = new Set<string>();

  readonly #isComplete: boolean;

  /** `isComplete`: false when there are documents that could not be read, which may be what a name means. */
  constructor(documents: readonly RawDocument[], isComplete = true) {
    this.#isComplete = isComplete;
    const spoilt: { readonly kind: Kind; readonly raw: RawDocument }[] = [];
    for (const raw of documents) {
      const kind = raw.value["kind"];
      if (!isKind(kind)) this.#addOfNoKind(raw);
      else if (!this.#add(kind, raw)) spoilt.push({ kind, raw });
    }
    // Only now is every name known.
    for (const { kind, raw } of spoilt) this.#followSpoilt(kind, raw);
  }

  report(raw: RawDocument, at: readonly PropertyKey[], text: string): void {
    this.problems.push({ file: raw.file, line: raw.lineOf(at), text });
  }

  note(raw: RawDocument, at: readonly PropertyKey[], text: string): void {
    this.notes.push({ file: raw.file, line: raw.lineOf(at), text });
  }

  all<K extends Kind>(kind: K): readonly Entry<K>[] {
    return [...this.#shelf[kind].values()].filter((entry): entry is Entry<K> => entry !== "spoilt");
  }

  /** The document that a name means in a project, undefined (and told, unless it is spoilt) when there is none. */
  find<K extends Kind>(kind: K, name: string, from: Referrer, at: readonly PropertyKey[]): Entry<K> | undefined {
    const shelf: ReadonlyMap<string, Named<K>> = this.#shelf[kind];
    const keys = [keyOf(from.project, name), keyOf(EVERYWHERE, name)];
    const found = keys.map((key) => shelf.get(key)).find((named) => named !== undefined);
    if (found === "spoilt") return undefined;
    if (found === undefined && this.#isComplete && !keys.some((key) => this.#ofNoKind.has(key))) {
      const known = [...shelf.keys()].flatMap((key) => {
        const [project = "", known = ""] = key.split("\0");
        return project === from.project || project === EVERYWHERE ? [known] : [];
      });
      const hint = suggestion(name, known) || ": correct the name, or add it";
      const what = `${dotted(at)} names ${kind} ${shown(name)}, which project ${from.project} does not have`;
      this.report(from.raw, at, labelOf(from.raw) + what + hint);
    }
    return found;
  }

  #addOfNoKind(raw: RawDocument): void {
    const { kind, name, project } = raw.value;
    this.report(raw, ["kind"], kindProblem(kind));
    if (typeof name !== "string") return;
    // Without a project it may be one that every project can name.
    for (const place of typeof project === "string" ? [project] : ["default", EVERYWHERE]) {
      this.#ofNoKind.add(keyOf(place, name));
    }
  }

  /** False for a document that cannot be judged on. */
  #add(kind: Kind, raw: RawDocument): boolean {
    const schema = SCHEMAS[kind];
    const label = labelOf(raw);
    let parsed = schema.safeParse(raw.value);
    if (!parsed.success) {
      for (const { at, text } of explainIssues(parsed.error, raw.value, schema)) this.report(raw, at, label + text);
      const standIn = withStandIns(raw.value, parsed.error);
      if (standIn !== undefined) parsed = schema.safeParse(standIn);
    }
    if (!parsed.success) {
      this.#spoil(kind, raw);
      return false;
    }
    const project = parsed.data.project ?? EVERYWHERE;
    const { name } = parsed.data;
    if (this.#isNameTaken(kind, project, name, raw)) return true;
    const id = parsed.data.id ?? derivedId(kind, project, name);
    const sameId = this.#ids.get(id);
    if (sameId === undefined) this.#ids.set(id, placeOf(raw));
    else this.report(raw, ["id"], `${label}id ${id} is taken by ${sameId}: every document has its own`);
    (this.#shelf[kind] as Map<string, unknown>).set(keyOf(project, name), {
      kind,
      id,
      project,
      value: parsed.data,
      raw,
    });
    return true;
  }

  #isNameTaken(kind: Kind, project: string, name: string, raw: RawDocument): boolean {
    const key = [kind, keyOf(project, name)].join("\0");
    const taken = this.#places.get(key);
    if (taken === undefined) {
      this.#places.set(key, placeOf(raw));
      return false;
    }
    const where = project === EVERYWHERE ? "" : ` in project ${project}`;
    this.report(raw, ["name"], `${labelOf(raw)}name ${shown(name)} is taken${where} by ${taken}: rename one`);
    return true;
  }

  /** Its name exists all the same: who refers to it has no problem of their own. */
  #spoil(kind: Kind, raw: RawDocument): void {
    const { name } = raw.value;
    if (typeof name !== "string") return;
    const project = projectOf(kind, raw);
    if (this.#isNameTaken(kind, project, name, raw)) return;
    (this.#shelf[kind] as Map<string, unknown>).set(keyOf(project, name), "spoilt");
  }

  #followSpoilt(kind: Kind, raw: RawDocument): void {
    const project = projectOf(kind, raw);
    for (const { at, names, name } of placesOfReferences(kind, raw.value)) this.find(names, name, { project, raw }, at);
  }
}

/** As far as it can be told of a document that may have any shape. */
function projectOf(kind: Kind, { value: { project } }: RawDocument): string {
  if (typeof project === "string") return project;
  return kind === "Network" ? EVERYWHERE : "default";
}

const placeOf = (raw: RawDocument): string => `${raw.file}:${raw.lineOf(["name"])}`;

const labelOf = ({ value: { kind, name } }: RawDocument): string =>
  typeof name === "string" ? `${String(kind)} ${name}: ` : `${String(kind)}: `;

function kindProblem(kind: unknown): string {
  if (kind === undefined) return `kind is missing: allowed ${KINDS.join(", ")}`;
  return `kind is ${shown(kind)}: ${typeof kind === "string" ? suggestion(kind, KINDS).replace(/^; /, "") : `allowed ${KINDS.join(", ")}`}`;
}
