// h2ts umount: unmounts, and returns only when everything is durable and the daemon gone. umount(8) alone does not wait.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { ControlClient } from "../daemon/control-client.ts";
import { coverOf } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { unmount } from "../fuse/kernel/mount.ts";
import { mountedElsewhere } from "../fuse/kernel/mounted-elsewhere.ts";
import { type MountEntry, mountedFileSystems } from "../base/mounted-filesystems.ts";
import { isDead } from "./dead-mount.ts";
import { presence, volumeNamed } from "./daemon-of.ts";

/** Most last commits are over by then. */
const NOTICE_MS = 10_000;
const EXIT_WAIT_MS = 5000;
const EXIT_POLL_MS = 5;
/** The next mount starts from the last commit and the log. */
const DIED = "its daemon had died: what fsync did not acknowledge may be lost; mount it again, fsck is not needed";

export function addUmount(program: Command): void {
  program
    .command("umount")
    .description("unmount; returns once everything is durable and the daemon gone")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(umount);
}

/** Resolves once all is durable. Throws {@link MountError} when it could not be unmounted or the last commit failed. */
async function umount(directory: string): Promise<void> {
  const mount = volumeNamed(directory);
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here`);
  const point = mount.directory;
  const all = mountedFileSystems();
  const obstacle = coverOf(mount, all) ?? obstacleTo(point, all);
  if (obstacle !== undefined) throw new MountError(`${directory}: ${obstacle}`);
  // Connected before the unmount: afterwards the daemon may be gone before it could be asked.
  const client = await ControlClient.connect(mount.deviceKey, mount.owner);
  const wasDead = client === undefined && (await isDead(mount));
  let notice: NodeJS.Timeout | undefined;
  try {
    // Of one that is stopped nobody would know when everything is durable: the mount stays.
    const supervisorPid = client && (await presence(client, mount)).supervisorPid;
    const ended = client?.call("waitForExit");
    await unmount(point).catch((error: unknown) => {
      const { code, message } = error as NodeJS.ErrnoException;
      // fusermount3 has words only.
      if (code !== "EBUSY" && !/busy/i.test(message)) throw new MountError(`${directory}: ${message}`);
      throw new MountError(`${directory}: is busy: a program uses it (fuser -vm ${point} names it)`);
    });
    notice = setTimeout(() => {
      const number = mount.deviceKey.replace("-", ":");
      process.stderr.write(
        `h2ts: ${directory}: unmounted; waiting for the last commit, or for another mount namespace that has the volume ` +
          `(grep -l ' ${number} ' /proc/[0-9]*/mountinfo tells whose)\n`,
      );
    }, NOTICE_MS);
    const reply = await ended;
    if (wasDead) throw new MountError(`${directory}: unmounted, but ${DIED}`);
    if (reply?.error !== undefined) throw new MountError(`${directory}: unmounted, but ${reply.error}`);
    if (!reply)
      throw new MountError(`${directory}: unmounted, but its daemon did not answer: check the volume with fsck.h2ts`);
    if (supervisorPid !== undefined) await gone(supervisorPid);
  } finally {
    clearTimeout(notice);
    client?.close();
  }
}

/** What would be left after the unmount, so that waiting for the daemon to end had no end; undefined when nothing would. */
export function obstacleTo(point: string, all: readonly MountEntry[]): string | undefined {
  const entry = all.findLast(({ directory }) => directory === point);
  if (entry === undefined) return undefined;
  const elsewhere = mountedElsewhere(entry, all);
  if (elsewhere.length === 0) return undefined;
  const others = elsewhere.join(" ");
  return `the volume is also mounted on ${others} and would go on there; take that off first (umount ${others}), or with umount(8) only this`;
}

/** Its last act was the answer, so it is a matter of milliseconds; a zombie that nobody reaps counts as gone. */
async function gone(pid: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < EXIT_WAIT_MS; waitedMs += EXIT_POLL_MS) {
    try {
      if (/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) return;
    } catch {
      return;
    }
    await sleep(EXIT_POLL_MS);
  }
}
