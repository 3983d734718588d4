/**
 * The feed of changes in this tab: one stream for all tabs of the browser that use the same token. The tab that holds
 * a lock reads it and passes on to the others what comes; when it is closed, another one gets the lock and goes on.
 * Where the browser has no locks (a page that is not served securely) or the server refuses the feed, it is not live,
 * and the screens ask by themselves.
 */
import { firstAnswer } from "../api/client";
import { backoffMs, paused } from "./backoff";
import type { Change } from "./changes";
import type { Asked, Begin, Said } from "./feedworker";
import source from "./feedworker.ts?worker&url";
import { newKey } from "./key";
import { answered, missed, onReturn } from "./session.svelte";
import { updates } from "./updates.svelte";

export interface Listener {
  /** What has changed, in the order in which it came. */
  changes(changes: readonly Change[]): void;
  /** All that is shown is to be read again: changes are missing, or come by the feed from now on, or no longer. */
  again(): void;
}

type Message =
  | { type: "hello" }
  | { type: "state"; live: boolean; lastId: string }
  | { type: "changes"; changes: readonly Change[]; again: boolean; lastId: string };

const CLIENT = "streamforge.client";
/** The server gives a sign of life each 15 s; the tab that reads the stream passes it on. */
const SILENT_MS = 50_000;
const BEAT_MS = 5000;
/** Changes that come within it are told together: nobody reads numbers that change more often. */
const TOGETHER_MS = 250;
/** The same where so many come at once: to draw them takes a tenth of a quarter of a second. */
const MANY = 50;
const MANY_TOGETHER_MS = 1000;

class Feed {
  live = $state(false);
  readonly #listeners = new Set<Listener>();
  #lastId = "";
  /** By `performance.now()`, which goes on evenly where this machine's clock is set. */
  #heardMs = 0;
  #channel: BroadcastChannel | null = null;

  /** Tell it what changes, until the function that is returned is called. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Take part with this token until the function that is returned is called. */
  run(token: string | null): () => void {
    const ending = new AbortController();
    if (navigator.locks !== undefined) {
      this.#run(token, ending.signal).catch((error: unknown) => {
        if (!ending.signal.aborted) console.warn("the feed of changes has ended:", error);
      });
    }
    return () => {
      ending.abort();
      this.#channel?.close();
      this.#channel = null;
      this.#lastId = "";
      this.#state(false);
    };
  }

  async #run(token: string | null, signal: AbortSignal): Promise<void> {
    const name = `streamforge.feed.${await digest(token ?? "")}`;
    await firstAnswer;
    if (signal.aborted) return;
    const channel = new BroadcastChannel(name);
    this.#channel = channel;
    channel.onmessage = ({ data }: MessageEvent<Message>) => this.#hear(data);
    const watch = setInterval(() => {
      if (this.live && performance.now() - this.#heardMs > SILENT_MS) this.#state(false);
    }, BEAT_MS);
    signal.addEventListener("abort", () => clearInterval(watch));
    channel.postMessage({ type: "hello" } satisfies Message);
    await navigator.locks.request(name, { signal }, () =>
      this.#read(channel, { token, client: `${clientName()}.${name.slice(-16)}` }, signal),
    );
  }

  /** What the tab that reads the stream says. */
  #hear(message: Message): void {
    if (message.type === "hello") return;
    if (message.lastId !== "") this.#lastId = message.lastId;
    if (message.type === "changes") {
      this.#heard();
      this.#tell(message.changes, message.again);
    } else {
      if (message.live) this.#heard();
      this.#state(message.live);
    }
  }

  /** Let a worker read the stream, and pass on what comes; where it fails, another one later. */
  async #read(channel: BroadcastChannel, begin: Omit<Begin, "lastId">, signal: AbortSignal): Promise<void> {
    let beatMs = Number.NEGATIVE_INFINITY;
    let others = false;
    const send = (message: Message): void => {
      if (!signal.aborted) channel.postMessage(message);
    };
    const beat = (): void => {
      beatMs = performance.now();
      send({ type: "state", live: this.live, lastId: this.#lastId });
    };
    channel.onmessage = ({ data }: MessageEvent<Message>) => {
      if (data.type !== "hello") return;
      others = true;
      beat();
    };
    const hear = (said: Said): void => {
      if (said === "missed") missed();
      else if (said === "heard") {
        this.#heard();
        if (performance.now() - beatMs > BEAT_MS) beat();
      } else {
        const { live, again, changes, lastId } = said;
        this.#lastId = lastId;
        if (live !== this.live) {
          this.live = live;
          beat();
        }
        if (others && live) send({ type: "changes", changes, again, lastId });
        this.#tell(changes, again);
      }
    };
    this.#state(false);
    // Those that wait for the lock: they have said hello to the tab that had it before.
    const { pending } = await navigator.locks.query();
    others ||= pending?.some((one) => one.name === channel.name) ?? true;
    for (let failures = 1; !signal.aborted; failures += 1) {
      try {
        await listened({ ...begin, lastId: this.#lastId }, hear, signal);
      } catch {
        this.#state(false);
        beat();
        await paused(backoffMs(failures, Math.random()), signal);
      }
    }
  }

  #heard(): void {
    this.#heardMs = performance.now();
    answered();
  }

  #state(live: boolean): void {
    if (this.live === live) return;
    this.live = live;
    this.#tell([], true);
  }

  #tell(changes: readonly Change[], again: boolean): void {
    updates.note(changes, again);
    if (again) for (const one of [...this.#listeners]) one.again();
    if (changes.length > 0) for (const one of [...this.#listeners]) one.changes(changes);
  }
}

export const feed = new Feed();

/** The name of this browser, by which the server ends a stream that it has left behind. */
function clientName(): string {
  try {
    const kept = localStorage.getItem(CLIENT);
    if (kept !== null && /^[0-9a-f]{32}$/.test(kept)) return kept;
    const made = newKey();
    localStorage.setItem(CLIENT, made);
    return made;
  } catch {
    return newKey();
  }
}

/** 16 hex digits that tell one token from another and say nothing of it. */
async function digest(text: string): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`streamforge ${text}`)));
  return [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Let a worker read the stream until the signal is given. Throws where its script cannot be loaded, or fails. */
async function listened(begin: Begin, hear: (said: Said) => void, signal: AbortSignal): Promise<void> {
  const { port1: port, port2 } = new MessageChannel();
  const ask = (asked: Asked): void => port.postMessage(asked);
  const worker = new Worker(trusted(source), { type: "module", name: "feed" });
  const stop = onReturn(() => ask("returned"));
  let pause: ReturnType<typeof setTimeout> | undefined;
  port.onmessage = ({ data: said }: MessageEvent<Said>) => {
    hear(said);
    if (typeof said === "string") return;
    const many = said.changes.length;
    if (many === 0) ask("next");
    else pause = setTimeout(() => ask("next"), many > MANY ? MANY_TOGETHER_MS : TOGETHER_MS);
  };
  worker.postMessage(begin, [port2]);
  ask("next");
  try {
    await new Promise<void>((end, fail) => {
      signal.addEventListener("abort", () => end(), { once: true });
      worker.onerror = ({ message }) => fail(new Error(message || "its script cannot be loaded"));
    });
  } finally {
    stop();
    clearTimeout(pause);
    port.close();
    worker.terminate();
  }
}

/** What it makes is no URL, but the types of a worker know of nothing else. */
interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): URL };
}

let policy: ReturnType<TrustedTypes["createPolicy"]> | undefined;

/** The page's policy allows no script by a mere text; this one comes from the build. */
function trusted(url: string): string | URL {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  policy ??= trustedTypes?.createPolicy("streamforge-feed", { createScriptURL: (given) => given });
  return policy?.createScriptURL(url) ?? url;
}
