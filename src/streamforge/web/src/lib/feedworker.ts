/**
 * Reads the stream of the feed beside the page, which has no more to do than to draw what is new. A message tells how,
 * and brings a port: by that the page asks for what is new, and is told it once there is something.
 */
import { paused, retryAfterS } from "./backoff.ts";
import { follow, Later } from "./follow.ts";
import { type News, Untold } from "./untold.ts";

/** lastId: the event behind which it goes on; empty: from now on. */
export interface Begin {
  token: string | null;
  client: string;
  lastId: string;
}

/** next: say what is new, once there is something. returned: the server answers again, so that no pause is worth it. */
export type Asked = "next" | "returned";

/** heard: the server gave a sign of life. missed: a request got no answer of its. */
export type Said = "heard" | "missed" | News;

/** The server gives a sign of life each 15 s. */
const SILENT_MS = 50_000;
const HEARD_MS = 1000;

addEventListener("message", ({ data, ports }: MessageEvent<Begin>) => {
  const [port] = ports;
  if (port !== undefined) void read(data, port);
});

/** It ends with the worker. */
function read({ token, client, lastId }: Begin, port: MessagePort): Promise<void> {
  const untold = new Untold(lastId);
  let asked = false;
  let heardMs = Number.NEGATIVE_INFINITY;
  let early = new AbortController();
  const say = (said: Said): void => port.postMessage(said);
  const tell = (): void => {
    const news = asked ? untold.take() : null;
    if (news === null) return;
    asked = false;
    say(news);
  };
  port.onmessage = ({ data }: MessageEvent<Asked>) => {
    if (data === "returned") return early.abort();
    asked = true;
    tell();
  };
  return follow(
    {
      open: (last, ended) => opened(token, client, last, ended, () => say("missed")),
      heard: () => {
        if (performance.now() - heardMs < HEARD_MS) return;
        heardMs = performance.now();
        say("heard");
      },
      deliver: (changes, again, last) => {
        untold.add(changes, again, last);
        tell();
      },
      state: (live) => {
        untold.state(live);
        queueMicrotask(tell); // with what the stream says first, where it says something
      },
      pause: (ms, ended) => {
        early = new AbortController();
        return paused(ms, AbortSignal.any([ended, early.signal]));
      },
      chance: Math.random,
    },
    lastId,
    new AbortController().signal,
  );
}

async function opened(
  token: string | null,
  client: string,
  lastId: string,
  signal: AbortSignal,
  missed: () => void,
): Promise<AsyncIterable<Uint8Array>> {
  const headers = new Headers({ Accept: "text/event-stream" });
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  if (lastId !== "") headers.set("Last-Event-ID", lastId);
  let answer: Response;
  const late = new AbortController();
  const silence = setTimeout(() => late.abort(), SILENT_MS);
  try {
    const ask = `/feed?client=${encodeURIComponent(client)}`;
    const ended = AbortSignal.any([signal, late.signal]);
    answer = await fetch(ask, { headers, signal: ended, cache: "no-store", credentials: "omit" });
  } catch (error) {
    missed();
    throw error;
  } finally {
    clearTimeout(silence);
  }
  if (!answer.ok || answer.body === null) {
    await answer.body?.cancel();
    throw new Later(`HTTP ${answer.status}`, 1000 * retryAfterS(answer.headers));
  }
  return parts(answer.body.getReader(), missed);
}

/** The bytes as they come; it ends where nothing comes for so long that the connection must be gone. */
async function* parts(reader: ReadableStreamDefaultReader<Uint8Array>, missed: () => void): AsyncGenerator<Uint8Array> {
  try {
    while (true) {
      const silence = setTimeout(() => void reader.cancel(), SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
    missed();
  }
}
