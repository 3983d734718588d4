import type { Finding, HealthReport, Setting } from "../api/types";

/** The report as plain text in English for a bug report: what is wrong, versions, limits, failures, settings. */
export function reportText(report: HealthReport, browser: string): string {
  const { versions, capacity, exchange, store, schedules, failures } = report;
  const lines = [`StreamForge ${versions.manager}: ${report.verdict}, checked at ${report.checked_at}`, ""];
  for (const one of report.findings) lines.push(...told(one));
  lines.push(
    "",
    `python: ${versions.python}`,
    `bus: ${versions.bus ?? "not known"}`,
    `store: ${versions.store ?? "not known"}`,
    `workers: ${pairs(versions.workers) || "none run"}`,
    `ui: ${versions.ui ?? "not built"}`,
    `browser: ${browser}`,
    `started at: ${report.started_at}`,
    `exchange: ${exchange.name}, clock ahead by ${exchange.ahead_seconds ?? "?"} s`,
    `weight a minute: used ${exchange.weight_used ?? "?"}, loaders ${exchange.weight_loaders}, manager ${exchange.weight_manager}`,
    `workflows: ${capacity.running} of ${capacity.most_running} running, ${capacity.live} live, ${capacity.waiting} waiting`,
    `worker processes or pods: ${capacity.workers ?? "?"}`,
  );
  if (store) {
    lines.push(
      `store bytes: ${store.used_bytes} of ${store.limit_bytes ?? "?"}, free on disk ${store.free_bytes ?? "?"}`,
    );
  }
  if (schedules) lines.push(`schedules: ${schedules.schedules}, paused ${schedules.paused.length}`);
  for (const one of failures ?? [])
    lines.push(`failed: ${one.code || "?"} ${one.workflows}, latest ${one.at}: ${one.reason}`);
  const set = report.settings.filter((one) => one.origin === "environment");
  lines.push("", ...set.map((one) => `${one.name}=${one.value ?? "(not shown)"}`));
  return `${lines.join("\n").trimEnd()}\n`;
}

function told(one: Finding): string[] {
  const head = `${one.verdict} ${one.part} (${one.code}): ${one.detail}`;
  return one.next_step ? [head, `  next: ${one.next_step}`] : [head];
}

function pairs(of: Record<string, number>): string {
  return Object.entries(of)
    .map(([what, n]) => `${what} (${n})`)
    .join(", ");
}

/** The settings that hold the words in their name or meaning, in any order; set: only those that are set. */
export function found(settings: readonly Setting[], words: string, set: boolean): Setting[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return settings.filter((one) => {
    const text = `${one.name} ${one.meaning}`.toLowerCase();
    return (!set || one.origin === "environment") && wanted.every((word) => text.includes(word));
  });
}
