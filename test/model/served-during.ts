// Whether a long request lets others have their turn: counted in requests answered meanwhile, never in time.

/** Does `request` once in each turn of the event loop until `work` is over, and tells how often that was. */
export async function servedDuring(work: unknown, request: () => unknown): Promise<number> {
  let over = false;
  const watched = Promise.resolve(work).finally(() => (over = true));
  let served = 0;
  while (!over) {
    await request();
    served++;
    await new Promise(setImmediate);
  }
  await watched;
  return served;
}
