import type { Summary } from "../api/types";

export interface Copies {
  link: string;
  cli: string;
  curl: string;
  python: string;
}

/** A workflow for other tools. None of them holds a token. server: `http://HOST:PORT`. */
export function copiesOfWorkflow(one: Summary, server: string): Copies {
  const id = one.queue_id;
  const asked = [one.symbol, one.type, one.time_range.requested].map((text) => JSON.stringify(text)).join(", ");
  return {
    link: `${server}/ui/workflows/${encodeURIComponent(id)}`,
    cli: `streamforge show ${quoted(id)} --server ${server}`,
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" ${server}/queues/${encodeURIComponent(id)}`,
    python: `streamforge.load(${asked}, server=${JSON.stringify(server)})`,
  };
}

/** As a shell reads it. */
export function quoted(text: string): string {
  return /^[\w.:/=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
