// How many steps of giving back removed and truncated files one turn of the event loop has to bear.

import { expect, it } from "vitest";
import type { Operation, OperationResult } from "../../src/ops/operation.ts";
import { Releases } from "../../src/posix/releases.ts";

const turn = (): Promise<void> => new Promise(setImmediate);

/** Files by number, with the steps that each takes; `blocked` ones wait in their next step until `unblock`. */
class Files {
  readonly releases = new Releases((operation) => this.#step(operation));
  readonly taken: number[] = [];
  readonly blocked = new Set<number>();
  readonly #left = new Map<number, number>();
  readonly #waiting: (() => void)[] = [];

  add(ino: number, steps: number): void {
    this.#left.set(ino, steps);
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  unblock(): void {
    this.blocked.clear();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #step(operation: Operation): OperationResult | Promise<OperationResult> {
    if (operation.op !== "release" && operation.op !== "trim") throw new Error(operation.op);
    const { ino } = operation;
    if (this.blocked.has(ino)) {
      return new Promise<void>((resolve) => this.#waiting.push(resolve)).then(() => this.#step(operation));
    }
    this.taken.push(ino);
    const left = (this.#left.get(ino) ?? 0) - 1;
    this.#left.set(ino, left);
    return left > 0 ? { unfinished: ino } : {};
  }
}

/** `count` files of `steps` steps each, whose first steps are taken. */
function begun(count: number, steps: number): Files {
  const files = new Files();
  for (let ino = 1; ino <= count; ino++) {
    files.add(ino, steps);
    files.releases.inBackground("release", ino);
  }
  expect(files.taken.splice(0)).toHaveLength(count);
  return files;
}

it("takes no more than one step a turn, however many files are given back", async () => {
  const files = begun(50, 5);
  let over = false;
  const settled = files.releases.settled().then(() => (over = true));
  let turns = 0;
  for (let before = 0; !over; turns++) {
    await turn();
    expect(files.taken.length - before).toBeLessThanOrEqual(1);
    before = files.taken.length;
  }
  await settled;
  expect(files.taken).toHaveLength(50 * 4);
  // And hardly less.
  expect(turns).toBeLessThan(50 * 4 + 10);
});

it("begins with one that somebody waits for, also if it was nobody at first", async () => {
  const files = begun(20, 5);
  files.add(100, 5);
  await Promise.all([files.releases.run("trim", 100), files.releases.run("release", 20)]);
  expect(files.taken.length).toBeLessThan(12);
});

it("lets a few wait together, and none of them hold up one that somebody waits for", async () => {
  const files = begun(20, 5);
  for (let ino = 1; ino <= 20; ino++) files.blocked.add(ino);
  for (let i = 0; i < 30; i++) await turn();
  expect(files.waiting).toBe(4);
  files.add(100, 5);
  await files.releases.run("trim", 100);
  expect(files.taken).toEqual([100, 100, 100, 100, 100]);
  files.unblock();
  await files.releases.settled();
  expect(files.taken).toHaveLength(5 + 20 * 4);
});
