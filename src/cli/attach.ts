// h2ts attach and replace: a volume gets a copy more, or another one in the place of one.

import { existsSync, rmSync, statSync } from "node:fs";
import type { Command } from "commander";
import { parseByteSize } from "../base/byte-size.ts";
import { MountExit } from "../daemon/messages.ts";
import { MountError } from "../daemon/start-mount.ts";
import { createImage } from "../device/image-file.ts";
import { callVerb, type VerbFlags } from "./call-verb.ts";
import { isRemoteTarget } from "../nbd/target.ts";
import { resolveTarget } from "./mount-preparation.ts";

interface TargetFlags extends VerbFlags {
  readonly size?: string;
  readonly force?: boolean;
  readonly wait?: boolean;
}

interface ReplaceFlags extends TargetFlags {
  readonly abandon?: boolean;
}

export function addMembers(program: Command): void {
  withTarget(program.command("attach"), "a new copy on TARGET", "[-fw] [-s SIZE] [-j] DIR TARGET")
    .argument("<DIR>", "the mount point")
    .argument("<TARGET>", "an image file, a block device, an NBD server's export, or a row of them")
    .action((directory: string, target: string, flags: TargetFlags) => onTarget(directory, target, {}, flags));
  withTarget(
    program.command("replace"),
    "a new copy on TARGET that takes the place of COPY once it is complete; or TARGET instead of one node of its row",
    "[-fw] [-s SIZE] [-j] [--abandon] DIR COPY[/NODE] TARGET",
  )
    .option("--abandon", "give up what NODE alone holds, where it can't be brought to other copies")
    .argument("<DIR>", "the mount point")
    .argument("<COPY[/NODE]>", "the copy's index, or the beginning of its UUID; and a node's position in its row")
    .argument("<TARGET>", "an image file, a block device, an NBD server's export, or a row of them")
    .action((directory: string, copy: string, target: string, flags: ReplaceFlags) => {
      if (flags.abandon === true && !copy.includes("/"))
        throw new MountError("--abandon: is for a node, COPY/NODE", MountExit.USAGE);
      return onTarget(directory, target, { replaces: copy, ...(flags.abandon === true && { abandon: true }) }, flags);
    });
}

function withTarget(command: Command, description: string, usage: string): Command {
  return command
    .description(description)
    .usage(usage)
    .option("-s, --size <SIZE>", "make TARGET an image file of this size, sparse")
    .option("-f, --force", "give up what TARGET holds")
    .option("-w, --wait", "return when the new copy is complete, and the one it replaces gone")
    .option("-j, --json", "print the state afterwards as JSON");
}

async function onTarget(
  directory: string,
  target: string,
  args: { readonly replaces?: string; readonly abandon?: boolean },
  flags: TargetFlags,
): Promise<void> {
  const path = resolveTarget(target);
  if (flags.size === undefined && !path.includes("+") && !isRemoteTarget(path) && !existsSync(path))
    throw new MountError(`${target}: no such file or device; -s SIZE makes an image file`, MountExit.SYSTEM);
  const made = flags.size === undefined ? undefined : makeImage(path, flags.size);
  try {
    const force = flags.force ?? false;
    const waits = flags.wait === true;
    await callVerb(directory, { verb: "attach", args: { target: path, force, ...args } }, waits ? {} : flags);
    if (waits) await callVerb(directory, { verb: "wait", args: { activities: ["resync", "detach"] } }, flags);
  } catch (error) {
    if (made !== undefined) removeUnused(made);
    throw error;
  }
}

/** Only what was never written to: whatever went wrong, an image that has something on it may be a member by now. */
function removeUnused(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.blocks === 0) rmSync(path, { force: true });
}

/** A new, sparse image file; its path. One that is there already is never touched. */
function makeImage(path: string, size: string): string {
  const sizeBytes = parseByteSize(size);
  if (sizeBytes === undefined) throw new MountError(`-s ${size}: not a size, as 10G is`, MountExit.USAGE);
  if (isRemoteTarget(path))
    throw new MountError(`${path}: -s makes an image file; a server's export has its size`, MountExit.USAGE);
  if (existsSync(path)) throw new MountError(`${path}: exists already; leave -s out to use it`, MountExit.USAGE);
  if (path.includes("+"))
    throw new MountError(`${path}: -s makes one image, not a row; make its files first`, MountExit.USAGE);
  createImage(path, sizeBytes);
  return path;
}
