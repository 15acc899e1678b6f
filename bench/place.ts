// Where a scenario does its work: a folder of its own on one peer, used through processes that can be ended.

import { mkdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import type { Amounts } from "./amounts.ts";
import { compactMemory, dropCaches, timesCachesWereDropped } from "./kernel-caches.ts";
import { type MemoryWatch, untilAtRest } from "./memory.ts";
import type { Peer } from "./peers/peer.ts";
import { type Outcome, run } from "./process.ts";
import { script } from "./programs.ts";
import type { Figures, TaskName } from "./tasks.ts";

const CLIENT = script("bench/client.js");
/** Until the disk has taken what was synced last. */
const QUIET_MS = 300;

export class Place {
  readonly directory: string;
  readonly amounts: Amounts;
  readonly #peer: Peer;
  readonly #memory: MemoryWatch;
  /** How often the kernel's caches had been dropped when this began, our own times since then included. */
  #expectedDrops = timesCachesWereDropped();

  constructor(peer: Peer, amounts: Amounts, memory: MemoryWatch) {
    this.#peer = peer;
    this.amounts = amounts;
    this.#memory = memory;
    this.directory = peer.isFloor ? peer.directory : join(peer.directory, "bench");
  }

  /** Somebody else emptied the kernel's caches meanwhile: what should have been warm was not. */
  get isDisturbed(): boolean {
    return timesCachesWereDropped() !== this.#expectedDrops;
  }

  /** Makes the folder, empty, with nothing left to be written from before. */
  async begin(): Promise<void> {
    if (this.#peer.isFloor) return;
    mkdirSync(this.directory);
    await this.settle();
    compactMemory();
  }

  async end(): Promise<void> {
    if (this.#peer.isFloor) return;
    await this.task("clear");
    await this.settle();
  }

  /** Carries out a task and returns what it measured. */
  async task(name: TaskName): Promise<Figures> {
    const { stdout } = await run(process.execPath, [CLIENT, name, this.directory, JSON.stringify(this.amounts)]);
    await this.#memory.note(this.#peer);
    return JSON.parse(stdout) as Figures;
  }

  /** Runs a program in the folder. */
  async program(command: string, words: readonly string[], input = ""): Promise<Outcome> {
    const outcome = await run(command, words, input, this.directory);
    await this.#memory.note(this.#peer);
    return outcome;
  }

  /** Writes everything back, so that it does not fall into what is measured next. */
  async settle(): Promise<void> {
    await run("sync", [this.#peer.directory]);
    await run("sync", []);
    await sleep(QUIET_MS);
  }

  /** Empties every cache: unmounted, the kernel's pages dropped (images included), mounted again, and at rest. */
  async remountCold(): Promise<void> {
    await this.#memory.note(this.#peer);
    await this.#peer.unmount();
    await run("sync", []);
    dropCaches();
    this.#expectedDrops++;
    await this.#peer.mount();
    await untilAtRest(this.#peer);
  }
}
