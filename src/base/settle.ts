// Several things under way at once, where none may be left behind when one fails.

/** Waits for all, then rejects with the first failure: no I/O is left behind a rejected call. */
export async function settle(calls: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(calls)) if (result.status === "rejected") throw result.reason;
}
