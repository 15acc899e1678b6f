// The verbs for the copies of a mounted volume, by the name that commands of src/cli call them by, and carrying one out. Each is
// a file in verbs/; two names may mean the same.

import { messageOf } from "../base/thrown.ts";
import { refuseFrozen } from "../walk/freeze.ts";
import { exitCodeOf } from "./exit-code.ts";
import { MountExit, type VerbCall } from "./messages.ts";
import type { Verb, VerbContext } from "./verb.ts";
import { attach } from "./verbs/attach.ts";
import { clear } from "./verbs/clear.ts";
import { detach } from "./verbs/detach.ts";
import { offline } from "./verbs/offline.ts";
import { online } from "./verbs/online.ts";
import { scrub } from "./verbs/scrub.ts";
import { selectMaster } from "./verbs/select-master.ts";
import { suspend } from "./verbs/suspend.ts";
import { wait } from "./verbs/wait.ts";

const VERBS: ReadonlyMap<string, Verb> = new Map([
  ["attach", attach],
  ["detach", detach],
  ["scrub", scrub],
  ["clear", clear],
  ["online", online],
  ["offline", offline],
  ["suspend", suspend],
  ["resume", online],
  ["select-master", selectMaster],
  ["wait", wait],
]);

export interface Refusal {
  readonly error: string;
  readonly exitCode: number;
}

/** Carries a verb out. Why it was refused, with the exit code of its command; undefined when it was done. */
export async function carryOut({ verb, args }: VerbCall, context: VerbContext): Promise<Refusal | undefined> {
  const known = VERBS.get(verb);
  if (known === undefined) return { error: `the daemon does not know '${verb}'`, exitCode: MountExit.USAGE };
  try {
    if (!known.whileFrozen) refuseFrozen(context.volume);
    await known.run(context, args);
    return undefined;
  } catch (error) {
    return { error: messageOf(error), exitCode: exitCodeOf(error) };
  }
}
