// h2ts mount: serves a volume on a folder; returns once programs can use it.

import type { Command } from "commander";
import { UsageError } from "../base/usage-error.ts";
import { accessIn, parseMountOptions } from "../daemon/mount-options.ts";
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

const HELP = `
Options of -o, separated by commas:
  cache=SIZE           memory for blocks (default 256M)
  commit=SECONDS       longest time between two commits (default 5)
  degraded             mount although copies are missing that may know more than those at hand
  master=NAME          copy that metadata is read from: newest, first, or a copy by index or UUID
  deadline=MS          how long a copy may take longer than the fastest before it is dropped (default 5000)
  nbd-timeout=MS       how long a request to a remote node may go without an answer (default: as deadline)
  nbd-retry=COUNT      how often in a row a lost connection is tried anew while requests wait (default 100)
  nbd-connections=COUNT  connections to a server that allows for several (default 1)
  resync-rate=SIZE     bytes a second that catching up a copy, or a scrub, may move (default 0)
  ro, rw               read-only, or not (default rw)
  transport=NAME       kernel (default) or fuse-native, as --transport
  metrics=[HOST:]PORT  serve figures for Prometheus, on the loopback unless HOST is given; or the path of a socket
  nowarmup             do without the practice that makes a new worker faster, while nobody uses the mount
  log=FILE             append the daemon's log to FILE (absolute path)
  allow_other          let other users in (always on when root mounts)
  suid, dev, noexec, noatime, relatime, strictatime, ...   as for mount(8); nosuid and nodev are the default
  remount              change ro, rw and the flags above of a live mount`;

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
    .addHelpText("after", HELP)
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
