/** The answers of the API about dead letters and topics. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type Letter = Schemas["DeadLetter"];
export type Letters = Schemas["DeadLetters"];
export type LetterCode = Letter["code"];
export type LetterCounts = Schemas["LetterCounts"];
export type LetterCountsPage = Schemas["LetterCountsPage"];
export type Topic = Schemas["Topic"];
export type TopicKind = Topic["kind"];
export type TopicPage = Schemas["TopicPage"];

export const CODES: readonly LetterCode[] = [
  "not-a-record",
  "contradictory",
  "schema-unmet",
  "too-large",
  "store-refused",
  "other",
];
export const KINDS: readonly TopicKind[] = ["records", "dead-letters", "commands", "events", "other"];
