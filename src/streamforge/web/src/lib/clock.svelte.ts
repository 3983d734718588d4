/** The server's now, once a second, so that ages agree with its instants also where this machine's clock is wrong. */
import { session } from "./session.svelte";

let local = $state(Date.now());

setInterval(() => {
  if (!document.hidden) local = Date.now();
}, 1000);

export const clock = {
  /** Unix milliseconds by the server's clock. */
  get now(): number {
    return local + session.offsetMs;
  },
  /** The same also in a tab that is hidden, where `now` stands still; nothing follows it. */
  get exact(): number {
    return Date.now() + session.offsetMs;
  },
  /** By this machine's. */
  get local(): number {
    return local;
  },
};
