/** Requests to the API of the same origin: JSON in and out, every failure an error that says what to do. */
import { retryAfterS } from "../lib/backoff";
import { answered, missed, session } from "../lib/session.svelte";
import type { Problem } from "./types";

const ANSWER_MS = 30_000;
/**
 * The latest answers with an ETag, by address: the same is sent again only where it has changed. The browser keeps
 * none, as the server forbids it.
 */
const tagged = new Map<string, { tag: string; body: unknown }>();
const MOST_TAGGED = 4;

let began: () => void;
/** Kept once the first request for what a screen shows is over: what it does not need waits for it. */
export const firstAnswer = new Promise<void>((keep) => {
  began = keep;
});

/** The server refused the request. retryAfterS: how long it asks to wait. */
export class Refused extends Error {
  readonly problem: Problem;
  readonly retryAfterS: number;

  constructor(problem: Problem, retryAfterS = 0) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer came, or none that is the server's. */
export class Unreachable extends Error {}

export type Query = Record<string, string | number | readonly string[] | undefined>;

/** `?a=1&b=2`; what is undefined or empty is left out. */
export function search(query: Query): string {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== "") found.append(name, String(one));
    }
  }
  return found.size > 0 ? `?${found}` : "";
}

export function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const answer = ask<T>("GET", path + search(query), signal ? { signal } : {});
  return path === "/access" ? answer : answer.finally(began);
}

/** key: an Idempotency-Key, with which the request can be sent again. */
export function post<T>(path: string, body?: unknown, key?: string): Promise<T> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== undefined) headers["Idempotency-Key"] = key;
  return ask<T>("POST", path, { headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

export function patch<T>(path: string, body: unknown): Promise<T> {
  return ask<T>("PATCH", path, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** It tells what was removed, where the server tells that at all. */
export function remove<T>(path: string, query: Query = {}): Promise<T> {
  return ask<T>("DELETE", path + search(query), { headers: { Prefer: "return=representation" } });
}

async function ask<T>(method: string, path: string, more: RequestInit): Promise<T> {
  const limit = AbortSignal.timeout(ANSWER_MS);
  const headers = new Headers(more.headers);
  headers.set("Accept", "application/json");
  const { token } = session;
  if (token !== null) headers.set("Authorization", `Bearer ${token}`);
  const kept = method === "GET" ? tagged.get(path) : undefined;
  if (kept !== undefined) headers.set("If-None-Match", kept.tag);
  let response: Response;
  let text: string;
  try {
    const signal = more.signal ? AbortSignal.any([more.signal, limit]) : limit;
    response = await fetch(path, { ...more, method, headers, signal, cache: "no-store", credentials: "omit" });
    text = await response.text();
  } catch (error) {
    if (more.signal?.aborted) throw error;
    missed();
    throw new Unreachable(String(error));
  }
  if (response.status === 304 && kept !== undefined) {
    answered(response.headers.get("Date"));
    return kept.body as T;
  }
  const body = parsed(text);
  if (response.ok && (body !== undefined || response.status === 204)) {
    answered(response.headers.get("Date"));
    if (method === "GET") keep(path, response.headers.get("ETag"), body);
    return body as T;
  }
  if (!isProblem(body)) {
    missed();
    throw new Unreachable(`HTTP ${response.status}`);
  }
  answered(response.headers.get("Date"));
  // A late answer says nothing of a token that was given since.
  if (response.status === 401 && token === session.token) session.refused = body;
  throw new Refused(body, retryAfterS(response.headers));
}

function keep(path: string, tag: string | null, body: unknown): void {
  tagged.delete(path);
  if (tag !== null) tagged.set(path, { tag, body });
  if (tagged.size > MOST_TAGGED) tagged.delete(tagged.keys().next().value as string);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && "detail" in body && "next_step" in body;
}
