// What a verb for the copies of a mounted volume is: the arguments it takes, checked on arrival, and what it does.

import type { z } from "zod";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "../walk/caretaker.ts";

export interface VerbContext {
  readonly volume: Volume;
  readonly caretaker: Caretaker;
}

export interface Verb {
  /** It takes no commit, or sees for itself that there can be one: it may be carried out while a copy is frozen. */
  readonly whileFrozen: boolean;
  /** Checks the arguments and carries the verb out; throws when it is refused, with nothing half done. */
  run(context: VerbContext, args: unknown): Promise<void>;
}

/** A verb with arguments of the shape `args`. */
export function defineVerb<T>(
  args: z.ZodType<T>,
  run: (context: VerbContext, args: T) => Promise<void> | void,
  { whileFrozen = false } = {},
): Verb {
  return { whileFrozen, run: async (context, given) => run(context, args.parse(given)) };
}
