/** Server-sent events out of a stream of bytes, wherever that is cut. */

export interface ServerEvent {
  name: string;
  data: string;
  /** The last id that came, also with an event before; empty: none. */
  id: string;
}

const MOST_CHARACTERS = 4_000_000;

export class EventParser {
  readonly #decoder = new TextDecoder();
  readonly #most: number;
  #rest = "";
  #afterReturn = false;
  #name = "";
  #data: string[] = [];
  #size = 0;
  #id = "";

  /** most: characters of one event, and of one line. */
  constructor(most = MOST_CHARACTERS) {
    this.#most = most;
  }

  /** The events that these bytes complete. Throws where one is larger than it may be. */
  push(bytes: Uint8Array): ServerEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    // CR LF is one end of a line, also where the bytes are cut between the two.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    this.#afterReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    this.#check(this.#rest.length);
    const events: ServerEvent[] = [];
    for (const line of lines) {
      if (line !== "") this.#take(line);
      else if (this.#data.length > 0) events.push(this.#event());
      else this.#name = "";
    }
    return events;
  }

  #take(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "data") {
      this.#size += value.length;
      this.#check(this.#size);
      this.#data.push(value);
    }
  }

  #event(): ServerEvent {
    const event = { name: this.#name || "message", data: this.#data.join("\n"), id: this.#id };
    this.#name = "";
    this.#data = [];
    this.#size = 0;
    return event;
  }

  #check(size: number): void {
    if (size > this.#most) throw new Error(`an event of the server is longer than ${this.#most} characters`);
  }
}
