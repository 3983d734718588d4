/** Topics in an order, and when their readers were heard of. */
import type { Topic } from "../api/bus";

export const ORDERS = ["name", "messages", "bytes", "rate", "lag"] as const;
export type Order = (typeof ORDERS)[number];

/** The order that a text names, or that of the names. */
export function orderOf(text: string | null): Order {
  return ORDERS.find((one) => one === text) ?? "name";
}

/**
 * The topics of a page by what it shows, as the server's order is some seconds old: by name from A on, by numbers the
 * greatest first; what is not known comes last.
 */
export function sorted(topics: readonly Topic[], order: Order): Topic[] {
  const byName = (one: Topic, other: Topic): number => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
  if (order === "name") return [...topics].sort(byName);
  const value = (one: Topic): number => one[order] ?? -1;
  return [...topics].sort((one, other) => value(other) - value(one) || byName(one, other));
}

/** When a reader of it was last heard of; null: never, or nobody reads it. */
export function heardAt(topic: Topic): string | null {
  const times = topic.readers.flatMap((one) => (one.seen_at === null ? [] : [one.seen_at]));
  return times.reduce<string | null>(
    (last, one) => (last === null || Date.parse(one) > Date.parse(last) ? one : last),
    null,
  );
}
