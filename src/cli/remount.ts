// Changes the generic options of a live mount: ro, rw, noatime and the like.

import { messageOf } from "../base/thrown.ts";
import { ControlClient } from "../daemon/control-client.ts";
import { coverOf, mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import type { VolumeReport } from "../daemon/volume-report.ts";
import { remount as remountDirectory } from "../fuse/kernel/mount.ts";
import { wordsOfMount } from "../fuse/kernel/mount-options.ts";
import { ownMountAt } from "../fuse/kernel/mountinfo.ts";
import { resolveDirectory } from "./mount-preparation.ts";

const ANSWER_MS = 10_000;

/** The words by which the volume on `directory` is mounted as it is: what is not changed stays. Throws {@link MountError}. */
export function wordsNow(directory: string): string[] {
  const entry = ownMountAt(resolveDirectory(directory));
  return entry === undefined ? [] : wordsOfMount(entry);
}

/** `words`: all that the mount is to be, the later word winning. Throws {@link MountError}. */
export async function remount(directory: string, words: readonly string[]): Promise<void> {
  const point = resolveDirectory(directory);
  const mount = mountedVolumeAt(point);
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here`);
  const cover = coverOf(mount);
  if (cover !== undefined) throw new MountError(`${directory}: ${cover}`);
  const staysWritable = words.findLast((word) => word === "ro" || word === "rw") !== "ro";
  const client = staysWritable ? await ControlClient.connect(mount.deviceKey, mount.owner) : undefined;
  const reply = await client?.call("status", ANSWER_MS);
  client?.close();
  const refusal = reply?.volume && whyNotWritable(reply.volume);
  if (refusal !== undefined) throw new MountError(`${directory}: ${refusal}`);
  try {
    remountDirectory(point, words);
  } catch (error) {
    throw new MountError(messageOf(error));
  }
}

/** What its daemon holds for reading only stays so, whatever the kernel is told. */
export function whyNotWritable({ state, readOnly }: Pick<VolumeReport, "state" | "readOnly">): string | undefined {
  if (!readOnly) return undefined;
  return state === "READONLY"
    ? "the volume turned read-only after an error, which h2ts status names; see to that, unmount it and mount it again"
    : "the volume was opened for reading only; unmount it and mount it again with rw";
}
