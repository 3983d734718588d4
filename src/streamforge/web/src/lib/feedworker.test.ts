import assert from "node:assert/strict";
import test from "node:test";
import type { Begin, Said } from "./feedworker.ts";

const SILENT_MS = 50_000;
const LONGEST_PAUSE_MS = 60_000;

interface Question {
  lastId: string | null;
  aborted: () => boolean;
  answer: (body: ReadableStream<Uint8Array>) => void;
}

/** The worker with a server that answers when a test says so, and what it tells the page. */
class Stage {
  readonly questions: Question[] = [];
  readonly said: Said[] = [];
  readonly #page = new MessageChannel();

  async begin(lastId: string): Promise<void> {
    let heard: ((message: { data: Begin; ports: MessagePort[] }) => void) | undefined;
    Object.assign(globalThis, {
      addEventListener: (_: string, listener: typeof heard) => {
        heard = listener;
      },
      fetch: (_: string, { headers, signal }: { headers: Headers; signal: AbortSignal }) =>
        new Promise<Response>((resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason));
          this.questions.push({
            lastId: headers.get("Last-Event-ID"),
            aborted: () => signal.aborted,
            answer: (body) => resolve(new Response(body)),
          });
        }),
    });
    await import(`./feedworker.ts?${lastId}`);
    this.#page.port1.onmessage = ({ data }: MessageEvent<Said>) => this.said.push(data);
    heard?.({ data: { token: null, client: "tab", lastId }, ports: [this.#page.port2] });
  }

  end(): void {
    this.#page.port1.close();
  }
}

/** Let all that is due happen, messages between ports too. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

test("a server that never answers is asked again, and so is one whose stream says nothing", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const stage = new Stage();
  context.after(() => stage.end());
  await stage.begin("7");
  await settled();
  const [first] = stage.questions;
  assert.equal(first?.lastId, "7");

  context.mock.timers.tick(SILENT_MS - 1);
  await settled();
  assert.equal(first?.aborted(), false);
  context.mock.timers.tick(1);
  await settled();
  assert.equal(first?.aborted(), true);
  assert.deepEqual(
    stage.said.filter((said) => typeof said === "string"),
    ["missed"],
  );

  context.mock.timers.tick(LONGEST_PAUSE_MS);
  await settled();
  const [, second] = stage.questions;
  assert.equal(second?.lastId, "7");
  let cancelled = false;
  second?.answer(
    new ReadableStream({
      cancel: () => {
        cancelled = true;
      },
    }),
  );
  await settled();
  context.mock.timers.tick(SILENT_MS - 1);
  await settled();
  assert.equal(cancelled, false);
  context.mock.timers.tick(1);
  await settled();
  assert.equal(cancelled, true);
  assert.deepEqual(
    stage.said.filter((said) => typeof said === "string"),
    ["missed", "missed"],
  );
});
