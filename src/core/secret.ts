// A text that must never be printed. It refuses to know why: whoever needs the bytes says so with reveal().

const SHOWN = "[secret]";

/** A secret text. Printing, JSON and util.inspect show `[secret]`; only `reveal` gives the text. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return SHOWN;
  }
}
