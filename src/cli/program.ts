// The h2ts command with its verbs. Each is in a file of src/cli, those that are much alike together.

import { Command } from "commander";
import { addMembers } from "./attach.ts";
import { addClear } from "./clear.ts";
import { addDetach } from "./detach.ts";
import { addExport } from "./export.ts";
import { addMount } from "./mount.ts";
import { addOffline } from "./offline.ts";
import { addOnline } from "./online.ts";
import { addProperties } from "./properties.ts";
import { addResolve } from "./resolve.ts";
import { addResume } from "./resume.ts";
import { addScrub } from "./scrub.ts";
import { addSelectMaster } from "./select-master.ts";
import { addStatus } from "./status.ts";
import { addSuspend } from "./suspend.ts";
import { addSync } from "./sync.ts";
import { addUmount } from "./umount.ts";
import { addUpgrade } from "./upgrade.ts";
import { packageVersion } from "./version.ts";
import { addWait } from "./wait.ts";

const VERBS = [
  ...[addMount, addUmount, addSync, addStatus],
  ...[addMembers, addDetach, addScrub, addClear, addProperties],
  ...[addOffline, addOnline, addSuspend, addResume, addSelectMaster, addWait],
  ...[addResolve, addUpgrade, addExport],
];

/** Throws CommanderError when it is to end, and prints no errors by itself. */
export function h2tsProgram(): Command {
  const program = new Command("h2ts")
    .description("Mount and look after h2ts volumes.")
    .version(packageVersion(), "-V, --version")
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  // Each verb is made by the program, so that it inherits the settings above.
  for (const add of VERBS) add(program);
  return program;
}
