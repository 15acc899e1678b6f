// For tests on streams in memory, where nothing that happens needs time: it is over after some turns of the event loop, however
// busy the machine is.

import { setImmediate as turn } from "node:timers/promises";

const TURNS = 20;

/** Lets everything happen that needs no time. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < TURNS; i++) await turn();
}
