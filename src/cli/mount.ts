// h2ts mount: serves a volume on a folder; returns once programs can use it.

import type { Command } from "commander";
import { UsageError } from "../base/usage-error.ts";
import { mountOptionsHelp } from "../daemon/mount-options-text.ts";
import { accessIn, parseMountOptions } from "../daemon/parse-mount-options.ts";
import { startDetached } from "../daemon/start-mount.ts";
import { printWarnings } from "./failure.ts";
import { prepareMount } from "./mount-preparation.ts";
import { remount, wordsNow } from "./remount.ts";

interface Flags {
  readonly options?: string[];
  readonly foreground?: boolean;
  readonly transport?: string;
}

const USAGE = "[-o OPTIONS] [--foreground] [--transport kernel|fuse-native] TARGET... DIR";

export function addMount(program: Command): void {
  program
    .command("mount")
    .description("mount a volume; returns once it is live")
    .usage(USAGE)
    // Both in one: Commander takes no word after a list.
    .argument("[words...]", "the targets of the volume's copies, then the mount point")
    .option("-o, --options <OPTIONS>", "mount options", (text: string, all: string[] = []) => [...all, text])
    .option("--foreground", "stay in the foreground and log to stderr")
    .option("--transport <NAME>", "kernel or fuse-native")
    .addHelpText("after", () => `\n${mountOptionsHelp()}`)
    .action(async (words: string[], { options: given = [], ...flags }: Flags) => {
      const transport = flags.transport === undefined ? [] : [`transport=${flags.transport}`];
      const options = parseMountOptions([...given, ...transport]);
      const directory = words.at(-1);
      if (directory !== undefined && options.remount)
        return remount(directory, [...wordsNow(directory), ...accessIn(given), ...options.vfsWords]);
      if (directory === undefined || words.length < 2)
        throw new UsageError(`give the targets and then the mount point: h2ts mount ${USAGE}`);
      const request = await prepareMount(words.slice(0, -1), directory, options);
      if (!flags.foreground) return printWarnings("h2ts", await startDetached(request));
      // Loaded here only: the other verbs do not need the supervisor.
      const { superviseInForeground } = await import("../daemon/supervise.ts");
      return superviseInForeground(request);
    });
}
