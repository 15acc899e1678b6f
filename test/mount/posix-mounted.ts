// A freshly made volume of two image files of unequal size, mounted through one of the transports, for a whole test file.
// A guard ends the mount by force when the tests get stuck in it, so that a hang fails them instead of stopping them.

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { type Outcome, Place } from "./cli-place.ts";

export type TransportName = "kernel" | "fuse-native";

/** What a transport can do at all; the README's table of fuse-native says what it can't. */
export interface Capabilities {
  /** New files belong to whoever makes them. */
  readonly callerOwner: boolean;
  readonly nanoseconds: boolean;
  /** rename flags, fallocate, SEEK_HOLE, copy_file_range, O_TMPFILE, statx' birth time, suid cleared by the filesystem. */
  readonly linuxCalls: boolean;
  readonly anyNames: boolean;
  /** An unlinked open file is gone from its directory at once. */
  readonly cleanUnlink: boolean;
  /** Inode numbers past 32 bits, file handles. */
  readonly handles: boolean;
  readonly acls: boolean;
}

export const CAPABILITIES: Record<TransportName, Capabilities> = {
  kernel: {
    callerOwner: true,
    nanoseconds: true,
    linuxCalls: true,
    anyNames: true,
    cleanUnlink: true,
    handles: true,
    acls: true,
  },
  "fuse-native": {
    callerOwner: false,
    nanoseconds: false,
    linuxCalls: false,
    anyNames: false,
    cleanUnlink: false,
    handles: false,
    acls: false,
  },
};

export interface VolumeSize {
  readonly firstMib: number;
  readonly secondMib: number;
}

const DEFAULT_SIZE: VolumeSize = { firstMib: 1024, secondMib: 1536 };
const GUARD_SECONDS = 420;

function succeeded(outcome: Outcome): void {
  expect(outcome, `${outcome.out}${outcome.err}`).toMatchObject({ code: 0 });
}

export class MountedVolume {
  readonly transport: TransportName;
  readonly place = new Place();
  readonly directory: string;
  readonly images: readonly [string, string];
  readonly #guard: ChildProcess;
  #folders = 0;

  private constructor(transport: TransportName, guardSeconds: number) {
    this.transport = transport;
    // Other users come this way, too.
    chmodSync(this.place.folder, 0o755);
    this.directory = this.place.mountPoint();
    this.images = [this.place.path("a.img"), this.place.path("b.img")];
    const script = `sleep ${guardSeconds}; umount -f "$1"; umount -l "$1"`;
    this.#guard = spawn("sh", ["-c", script, "sh", this.directory], { detached: true, stdio: "ignore" });
  }

  static async create(
    transport: TransportName,
    size: VolumeSize = DEFAULT_SIZE,
    guardSeconds = GUARD_SECONDS,
  ): Promise<MountedVolume> {
    const volume = new MountedVolume(transport, guardSeconds);
    try {
      // mkfs gives all images the size of -s; without it, one that is there keeps its own.
      for (const [image, bytes] of [
        ["a.img", size.firstMib],
        ["b.img", size.secondMib],
      ] as const) {
        writeFileSync(volume.place.path(image), "");
        truncateSync(volume.place.path(image), bytes * 2 ** 20);
      }
      succeeded(await volume.place.run("mkfs.h2ts", "-q", "-f", "a.img", "b.img"));
      await volume.mount();
    } catch (error) {
      volume.destroy();
      throw error;
    }
    return volume;
  }

  get can(): Capabilities {
    return CAPABILITIES[this.transport];
  }

  async mount(...options: string[]): Promise<void> {
    const words = ["-o", [`log=${this.place.path("log")}`, ...options].join(",")];
    const transport = ["--transport", this.transport];
    succeeded(await this.place.run("h2ts", "mount", ...transport, ...words, ...this.images, this.directory));
  }

  async unmount(): Promise<void> {
    const outcome = await this.place.run("h2ts", "umount", this.directory);
    expect(outcome, outcome.err + readFileSync(this.place.path("log"), "utf8")).toMatchObject({ code: 0 });
  }

  async remount(...options: string[]): Promise<void> {
    await this.unmount();
    await this.mount(...options);
  }

  /** Forgets what the kernel keeps: names, attributes and clean pages. */
  dropCaches(): void {
    writeFileSync("/proc/sys/vm/drop_caches", "3");
  }

  async status(): Promise<unknown> {
    const outcome = await this.place.run("h2ts", "status", "-j", this.directory);
    succeeded(outcome);
    return JSON.parse(outcome.out);
  }

  /** Not mounted; every block of both copies must be right. */
  async check(): Promise<void> {
    succeeded(await this.place.run("fsck.h2ts", "-n", "-f", ...this.images));
  }

  /** A new empty folder on the volume, open to everybody. */
  folder(): string {
    const folder = join(this.directory, `t${this.#folders++}`);
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    return folder;
  }

  destroy(): void {
    if (this.#guard.pid !== undefined) process.kill(-this.#guard.pid);
    this.place.clear();
  }
}
