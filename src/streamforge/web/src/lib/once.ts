/** The Idempotency-Key of a request until its answer is known, also where the page is loaded again meanwhile. */
interface Kept {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
  removeItem(name: string): void;
}

const NAME = "streamforge.asked";

export class Once {
  readonly #kept: Kept;
  readonly #newKey: () => string;
  #asked: { request: string; key: string } | null = null;

  constructor(kept: Kept, newKey: () => string) {
    this.#kept = kept;
    this.#newKey = newKey;
  }

  /** The key to send with the request: the same until `known`, another one for another request. */
  keyOf(request: string): string {
    const before = this.#asked ?? this.#read();
    const asked = before?.request === request ? before : { request, key: this.#newKey() };
    this.#asked = asked;
    try {
      this.#kept.setItem(NAME, JSON.stringify(asked));
    } catch {
      // Where nothing can be kept, the key lasts as long as the page.
    }
    return asked.key;
  }

  /** The request is answered: the next one is another, also where it asks for the same. */
  known(): void {
    this.#asked = null;
    this.#kept.removeItem(NAME);
  }

  #read(): { request: string; key: string } | null {
    try {
      return JSON.parse(this.#kept.getItem(NAME) ?? "null");
    } catch {
      return null;
    }
  }
}
