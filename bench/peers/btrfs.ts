// The kernel's btrfs with data and metadata as raid1 on two loop devices.

import { truncateSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../process.ts";
import { detach, missingProgram, type Peer } from "./peer.ts";

export class Btrfs implements Peer {
  readonly name = "btrfs";
  readonly description = "kernel btrfs raid1 on two loop devices";
  readonly isFloor = false;
  readonly directory: string;
  readonly #images: readonly string[];
  readonly #imageBytes: number;
  #loops: string[] = [];

  constructor(home: string, directory: string, imageBytes: number) {
    this.directory = directory;
    this.#images = [join(home, "a.img"), join(home, "b.img")];
    this.#imageBytes = imageBytes;
  }

  async missing(): Promise<string | undefined> {
    const program = missingProgram("mkfs.btrfs", "losetup", "mount");
    if (program !== undefined) return program;
    const known = await run("sh", ["-c", "grep -qw btrfs /proc/filesystems || modprobe btrfs"]).catch(() => undefined);
    return known === undefined ? "the kernel has no btrfs" : undefined;
  }

  async create(): Promise<void> {
    for (const image of this.#images) {
      await writeFile(image, "");
      truncateSync(image, this.#imageBytes);
    }
    await this.#attach();
    await run("mkfs.btrfs", ["-q", "-f", "-d", "raid1", "-m", "raid1", ...this.#loops]);
    await this.#mount();
  }

  async mount(): Promise<void> {
    await this.#attach();
    await this.#mount();
  }

  async #attach(): Promise<void> {
    for (const image of this.#images) {
      this.#loops.push((await run("losetup", ["--find", "--show", image])).stdout.trim());
    }
  }

  async #mount(): Promise<void> {
    const [first, second] = this.#loops as [string, string];
    await run("mount", ["-t", "btrfs", "-o", `device=${second}`, first, this.directory]);
  }

  async unmount(): Promise<void> {
    await run("umount", [this.directory]);
    await this.#detachLoops();
  }

  pids(): Promise<readonly number[]> {
    return Promise.resolve([]);
  }

  async abandon(): Promise<void> {
    await detach(this.directory);
    await this.#detachLoops();
  }

  async #detachLoops(): Promise<void> {
    for (const loop of this.#loops.splice(0)) await run("losetup", ["--detach", loop]);
  }
}
