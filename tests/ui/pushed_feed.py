"""A stand-in for the feed of changes: a test pushes what it says, and knows that the page has heard it."""

from __future__ import annotations

import json

from playwright.sync_api import Page

FEED = """
const real = window.fetch;
window.paths = [];
// The script of the worker runs in the page, where requests can be answered in its place.
window.Worker = class {
  #script;
  constructor(script) { this.#script = import(script); }
  postMessage(data, ports) { this.#script.then(() => dispatchEvent(new MessageEvent("message", { data, ports }))); }
  terminate() {}
};
// What a port was given before is there by then.
const passed = () => new Promise((done) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); done(); };
  port2.postMessage(null);
});
const feed = () => new Response(new ReadableStream({
  start: (to) => {
    window.feeds = (window.feeds ?? 0) + 1;
    window.cut = () => to.close();
    window.push = async (text) => {
      to.enqueue(new TextEncoder().encode(text));
      for (let hop = 0; hop < 3; hop += 1) await passed();
    };
  },
}));
window.pending = 0;
window.fetch = async (path, options) => {
  if (String(path).startsWith("/feed")) return feed();
  paths.push(String(path));
  pending += 1;
  try {
    const answer = await real(path, options);
    const text = await answer.text();
    return new Response(text || null, { status: answer.status, headers: answer.headers });
  } finally {
    pending -= 1;
  }
};
"""
"""A feed that says what a test pushes. What is asked is noted, and how many answers are on their way."""


def push(page: Page, name: str, *bodies: object) -> None:
    """Let the feed say it."""
    page.evaluate("text => push(text)", "".join(f"event: {name}\ndata: {json.dumps(body)}\n\n" for body in bodies))


def pass_by(page: Page, seconds: int) -> None:
    """Let so much time go by, in steps of five seconds, on a page whose feed says that it lives."""
    for _ in range(seconds // 5):
        page.wait_for_function("() => pending === 0")
        page.clock.run_for(5000)
        page.evaluate("push(': still here\\n\\n')")
