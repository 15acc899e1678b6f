// A real volume in image files that lose and regain copies: work done on its mount, what it must hold afterwards, and the
// ways to look at it: status, fsck, each copy alone.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { mountedReport, type StatusReport } from "../../src/cli/status-report.ts";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { DeviceError } from "../../src/device/device.ts";
import { openNode } from "../../src/device/open.ts";
import { isAlive, Place } from "./cli-place.ts";
import { describeTree, expectSameTree } from "./data-programs.ts";

const ANSWER_MS_MAX = 20_000;
const DONE = { code: 0, out: "", err: "" };

/** Random files written, replaced, renamed and deleted, one after another; knows what must be there. */
export class Work {
  readonly files: Map<string, Buffer>;
  readonly #folder: string;
  readonly #random: SeededRandom;
  #steps = 0;
  #stopped = false;
  #going: Promise<void> = Promise.resolve();

  constructor(folder: string, seed: number, files: ReadonlyMap<string, Buffer> = new Map()) {
    this.#folder = folder;
    this.files = new Map(files);
    this.#random = new SeededRandom(seed);
  }

  async #step(): Promise<void> {
    const [kind, at, size = 0] = this.#random.bytes(3);
    const name = `file-${(at ?? 0) % 24}`;
    if ((kind ?? 0) % 8 === 0) {
      await rm(join(this.#folder, name), { force: true });
      this.files.delete(name);
      return;
    }
    const bytes = Buffer.from(this.#random.bytes(1 + size * 1200));
    const handle = await open(join(this.#folder, "new"), "w");
    await handle.writeFile(bytes);
    if ((kind ?? 0) % 8 === 1) await handle.sync();
    await handle.close();
    await rename(join(this.#folder, "new"), join(this.#folder, name));
    this.files.set(name, bytes);
    this.#steps++;
  }

  /** Other work that goes on from what is there now. */
  fork(seed: number): Work {
    return new Work(this.#folder, seed, this.files);
  }

  async run(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) await this.#step();
  }

  /** One big file that makes a resync last. */
  async writeBig(bytes: number): Promise<void> {
    const content = Buffer.from(this.#random.bytes(bytes));
    const handle = await open(join(this.#folder, "big"), "w");
    await handle.writeFile(content);
    await handle.sync();
    await handle.close();
    this.files.set("big", content);
  }

  /** Goes on until `stop`, which fails if any step did, or none was made meanwhile. */
  start(): void {
    this.#stopped = false;
    this.#going = (async () => {
      while (!this.#stopped) await this.#step();
    })();
    this.#going.catch(() => undefined);
  }

  async stop(): Promise<void> {
    const before = this.#steps;
    await expect.poll(() => this.#steps, { timeout: 20_000 }).toBeGreaterThan(before);
    this.#stopped = true;
    await this.#going;
  }

  async verify(folder = this.#folder): Promise<void> {
    expect((await readdir(folder)).sort()).toEqual([...this.files.keys()].sort());
    for (const [name, bytes] of this.files) {
      expect((await readFile(join(folder, name))).equals(bytes), `${folder}/${name}`).toBe(true);
    }
  }
}

export class CopiesPlace extends Place {
  readonly mnt = this.mountPoint();

  /** Paths of image files, one for each name. */
  images<Names extends readonly string[]>(...names: Names): { [Name in keyof Names]: string } {
    return names.map((name) => this.path(`${name}.img`)) as { [Name in keyof Names]: string };
  }

  async h2ts(...words: string[]): Promise<void> {
    expect({ words, ...(await this.run("h2ts", ...words)) }).toEqual({ words, ...DONE });
  }

  async format(size: string, targets: readonly string[]): Promise<void> {
    expect(await this.run("mkfs.h2ts", "-q", "-f", "-L", "copies", "-s", size, ...targets)).toEqual(DONE);
  }

  /** Formats two copies, a.img and b.img, mounts them and gives their paths; see `log`. */
  async mounted(size: string, ...options: readonly string[]): Promise<string[]> {
    const targets = this.images("a", "b");
    await this.format(size, targets);
    await this.h2ts("mount", "-o", `log=${this.path("daemon.log")}`, ...options, ...targets, this.mnt);
    return targets;
  }

  /** What the daemon of `mounted` has said so far. */
  log(): string {
    return readFileSync(this.path("daemon.log"), "utf8");
  }

  /** As `h2ts status -j` has it, without a program for each look: those that wait for something look often. */
  async status(): Promise<StatusReport> {
    const mount = mountedVolumeAt(this.mnt);
    if (mount === undefined) throw new Error(`${this.mnt}: nothing is mounted here`);
    const client = await ControlClient.connect(mount.deviceKey);
    const reply = await client?.call("status", ANSWER_MS_MAX);
    client?.close();
    if (reply?.volume === undefined) throw new Error(`no status: ${reply?.error ?? "nobody answers"}`);
    return mountedReport(reply, reply.volume);
  }

  /** The processes of the mount, and how often a worker followed another one. */
  async daemon(): Promise<NonNullable<StatusReport["daemon"]>> {
    const { daemon } = await this.status();
    if (daemon === undefined) throw new Error(`${this.mnt}: no daemon`);
    return daemon;
  }

  /** Resolves when so many workers have followed one another. */
  async restarted(times: number): Promise<void> {
    await expect.poll(async () => (await this.status()).daemon?.restarts, { timeout: 20_000 }).toBe(times);
  }

  async states(): Promise<string[]> {
    return (await this.status()).copies.map(({ state }) => state);
  }

  /** Resolves when the copies stand like this. */
  async until(states: readonly string[]): Promise<void> {
    await expect.poll(() => this.states(), { timeout: 30_000, interval: 200 }).toEqual(states);
  }

  /** Unmounted: the checker finds nothing, and each of the copies alone holds all that was done. */
  async examine(work: Work, targets: readonly string[], others: readonly string[] = []): Promise<void> {
    await this.succeeds("fsck.h2ts", "-n", "-f", ...targets, ...others);
    const alone = this.mountPoint("alone");
    for (const target of targets) {
      expect(await this.succeeds("h2ts", "mount", "-o", "ro,degraded", target, alone)).toMatchObject({ out: "" });
      await work.verify(alone);
      await this.h2ts("umount", alone);
    }
  }

  /** In sync without an error; unmounted, the checker finds nothing, and each copy alone holds what the mount held. */
  async inSyncAndWhole(targets: readonly string[]): Promise<void> {
    const { state, dataErrors } = await this.status();
    expect({ state, dataErrors }).toEqual({ state: "ONLINE", dataErrors: 0 });
    const kept = describeTree(this.mnt);
    expect(kept.size).toBeGreaterThan(100);
    await this.h2ts("umount", this.mnt);
    await this.succeeds("fsck.h2ts", "-n", "-f", ...targets);
    const alone = this.mountPoint("alone");
    for (const target of targets) {
      expect(await this.succeeds("h2ts", "mount", "-o", "ro,degraded", target, alone)).toMatchObject({ out: "" });
      expectSameTree(describeTree(alone), kept);
      await this.h2ts("umount", alone);
    }
  }

  /** A small filesystem in memory: an image on it runs out of room under its copy. */
  async tmpfs(name: string, size: string): Promise<string> {
    await mkdir(this.path(name));
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", this.path(name)]).status).toBe(0);
    return this.path(name);
  }

  /** A loop device over a file; undefined where there are none. */
  loop(file: string): string | undefined {
    const { status, stdout } = spawnSync("losetup", ["-f", "--show", file], { encoding: "utf8" });
    return status === 0 ? stdout.trim() : undefined;
  }

  /** The loop devices over files in this folder; others are another test's, though they may once have been of this one. */
  #loops(): string[] {
    const { stdout } = spawnSync("losetup", ["-l", "-n", "-O", "NAME,BACK-FILE"], { encoding: "utf8" });
    const all = stdout.split("\n").map((line) => line.split(/\s+/));
    return all.flatMap(([device = "", file = ""]) => (file.startsWith(`${this.folder}/`) ? [device] : []));
  }

  override clear(): void {
    // Where files are can't be seen any more once what they lie on is unmounted.
    const loops = this.#loops();
    super.clear();
    for (const device of loops) spawnSync("losetup", ["-d", device]);
  }
}

/** Kills processes and waits until they are gone. */
export async function killed(...pids: number[]): Promise<void> {
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await expect.poll(() => pids.some(isAlive), { timeout: 10_000 }).toBe(false);
}

/** Resolves when nobody has any of the images open any more. */
export async function untilFree(targets: readonly string[]): Promise<void> {
  for (const target of targets) await expect.poll(() => isFree(target), { timeout: 20_000 }).toBe(true);
}

/** Whether an image can be opened for writing now, as mount, fsck and mkfs do it. */
export async function isFree(path: string): Promise<boolean> {
  try {
    await (await openNode(path, { writable: true })).close();
    return true;
  } catch (error) {
    if (error instanceof DeviceError && error.operation === "lock") return false;
    throw error;
  }
}
