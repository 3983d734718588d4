import type { Workflow } from "../api/types";

export interface Copies {
  link: string;
  cli: string;
  curl: string;
  python: string;
}

type Copied = Pick<Workflow, "queue_id" | "symbol" | "type" | "time_range" | "made_of" | "topic_input">;

/** A workflow for other tools. None of them holds a token. server: `http://HOST:PORT`. */
export function copiesOfWorkflow(one: Copied, server: string): Copies {
  const id = one.queue_id;
  const api = `${server}/queues/${encodeURIComponent(id)}`;
  const asked = [one.symbol, one.type, one.time_range.requested].map((text) => JSON.stringify(text)).join(", ");
  return {
    link: `${server}/ui/workflows/${encodeURIComponent(id)}`,
    cli: `streamforge show ${quoted(id)} --server ${server}`,
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" ${api}`,
    // `load` asks for series alone.
    python:
      one.made_of === null && one.topic_input === null
        ? `streamforge.load(${asked}, server=${JSON.stringify(server)})`
        : `import json, os, urllib.request
json.load(urllib.request.urlopen(urllib.request.Request(
    ${JSON.stringify(api)},
    headers={"Authorization": "Bearer " + os.environ.get("STREAMFORGE_TOKEN", "")},
)))`,
  };
}

/** As a shell reads it. */
export function quoted(text: string): string {
  return /^[\w.:/=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
