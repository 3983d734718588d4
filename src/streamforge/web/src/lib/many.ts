/** One request for each of many workflows. */

export interface Done {
  well: number;
  failed: { id: string; error: Error }[];
}

const AT_ONCE = 4;

/** Do it to each, four at a time; those behind a failure are done too. told: after each one. */
export async function toEach(
  ids: readonly string[],
  act: (id: string) => Promise<unknown>,
  told: (done: Done) => void = () => {},
): Promise<Done> {
  const waiting = [...ids];
  const done: Done = { well: 0, failed: [] };
  const work = async (): Promise<void> => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      try {
        await act(id);
        done.well += 1;
      } catch (error) {
        done.failed.push({ id, error: error as Error });
      }
      told({ well: done.well, failed: [...done.failed] });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return done;
}
