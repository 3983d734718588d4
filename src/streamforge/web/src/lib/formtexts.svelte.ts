import { address, href, replace } from "./address.svelte";
import { queryOf, type Texts, textsOfQuery } from "./asking";

const WRITTEN_AFTER_MS = 300;

/** The texts of a form, which the address keeps. */
export class FormTexts {
  texts = $state.raw<Texts>({});
  readonly #path: string | null;
  readonly #kept: Texts;
  #written: string | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** path: of the screen; null: the address does not change. kept: what its query holds beside the texts. */
  constructor(path: string | null, kept: Texts = {}) {
    this.#path = path;
    this.#kept = kept;
  }

  /** In an effect: take over an address that another has written. Whether it was one. */
  follow(): boolean {
    const query = address.query;
    if (this.#path === null || query.has("like") || query.toString() === this.#written) return false;
    this.#written = query.toString();
    this.texts = textsOfQuery(query);
    return true;
  }

  change(name: string, text: string): void {
    this.texts = { ...this.texts, [name]: text };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.write(), WRITTEN_AFTER_MS);
  }

  /** Let the address say now what the form does. */
  write(): void {
    clearTimeout(this.#timer);
    if (this.#path === null) return;
    const query = queryOf({ ...this.#kept, ...this.texts });
    if (query.toString() === address.query.toString()) return;
    this.#written = query.toString();
    replace(href(this.#path, query));
  }

  /** The form is gone. */
  end(): void {
    clearTimeout(this.#timer);
  }
}
