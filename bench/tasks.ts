// The work itself, done by synchronous calls in a process of its own (client.ts), so that nothing but the filesystem is waited for.
// Each task works in one folder, may find there what an earlier task left, and returns what it measured.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import koffi from "koffi";
import type { Amounts } from "./amounts.ts";
import { Content } from "./content.ts";

/** Measured values by name. */
export type Figures = Record<string, number>;
type Task = (directory: string, amounts: Amounts) => Figures;

const MIB = 1024 * 1024;
const PAGE_BYTES = 4096;
const SMALL_FILES_PER_FOLDER = 1000;
const SMALL_FILE_BYTES = 4096;
const APPEND_BYTES = 4096;
const STAT_FILES = 100;
/** One alone takes too short a time to tell it from what else the machine does. */
const WARM_PASSES = 5;
/** So many times as many fsyncs come before those that count: what one takes in the long run. */
const FSYNCS_BEFORE = 4;

function seconds(work: () => void): number {
  const began = performance.now();
  work();
  return (performance.now() - began) / 1000;
}

function withFile(path: string, flags: string, work: (fd: number) => void): void {
  const fd = openSync(path, flags);
  try {
    work(fd);
  } finally {
    closeSync(fd);
  }
}

function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number;
}

function writeInOrder(path: string, mib: number): void {
  const content = new Content();
  withFile(path, "w", (fd) => {
    for (let i = 0; i < mib; i++) writeSync(fd, content.bytes(MIB));
    fsyncSync(fd);
  });
}

/**
 * Room that begins with a page, as that of cp and dd does. Into other places processors copy at a quarter of the speed, and the row would
 * tell about that alone.
 */
function pageAligned(sizeBytes: number): Uint8Array {
  const room = new Uint8Array(sizeBytes + PAGE_BYTES);
  const past = Number(koffi.address(room) % BigInt(PAGE_BYTES));
  const start = past === 0 ? 0 : PAGE_BYTES - past;
  return room.subarray(start, start + sizeBytes);
}

function readInOrder(path: string, mib: number): void {
  const target = pageAligned(MIB);
  withFile(path, "r", (fd) => {
    for (let i = 0; i < mib; i++) {
      if (readSync(fd, target) !== MIB) throw new Error(`${path} is shorter than what was written`);
    }
  });
}

function smallFile(directory: string, i: number): string {
  return join(directory, `d${Math.floor(i / SMALL_FILES_PER_FOLDER)}`, `file-${i}`);
}

/**
 * Looks up `count` names that are not there, each another one, after half as many that are not counted: what a lookup takes in the long
 * run.
 */
function lookUpMissing(directory: string, count: number): number {
  const unique = `${process.pid}-${Math.floor(performance.timeOrigin)}`;
  for (let i = 0; i < count / 2; i++) statSync(join(directory, `early-${unique}-${i}`), { throwIfNoEntry: false });
  const paths = Array.from({ length: count }, (_, i) => join(directory, `missing-${unique}-${i}`));
  const took = seconds(() => {
    for (const path of paths) {
      if (statSync(path, { throwIfNoEntry: false }) !== undefined) throw new Error(`${path} is there`);
    }
  });
  return (took / count) * 1e6;
}

export const TASKS = {
  sequentialWrite: (directory, { sequentialMib: mib }) => {
    return { write: mib / seconds(() => writeInOrder(join(directory, "big"), mib)) };
  },

  sequentialRead: (directory, { sequentialMib: mib }) => {
    return { read: mib / seconds(() => readInOrder(join(directory, "big"), mib)) };
  },

  warmRead: (directory, { sequentialMib: mib }) => {
    const took = seconds(() => {
      for (let pass = 0; pass < WARM_PASSES; pass++) readInOrder(join(directory, "big"), mib);
    });
    return { read: (WARM_PASSES * mib) / took };
  },

  randomPrepare: (directory, { randomMib }) => {
    writeInOrder(join(directory, "random"), randomMib);
    return {};
  },

  randomWrite: (directory, { randomMib, randomWrites }) => {
    const content = new Content();
    const pages = (randomMib * MIB) / PAGE_BYTES;
    const took = seconds(() =>
      withFile(join(directory, "random"), "r+", (fd) => {
        for (let i = 0; i < randomWrites; i++) {
          writeSync(fd, content.bytes(PAGE_BYTES), 0, PAGE_BYTES, content.below(pages) * PAGE_BYTES);
        }
        fsyncSync(fd);
      }),
    );
    return { write: randomWrites / took };
  },

  randomRead: (directory, { randomMib, randomReads }) => {
    const content = new Content();
    const target = Buffer.alloc(PAGE_BYTES);
    const pages = (randomMib * MIB) / PAGE_BYTES;
    const took = seconds(() =>
      withFile(join(directory, "random"), "r", (fd) => {
        for (let i = 0; i < randomReads; i++) readSync(fd, target, 0, PAGE_BYTES, content.below(pages) * PAGE_BYTES);
      }),
    );
    return { read: randomReads / took };
  },

  smallFiles: (directory, { smallFiles: count }) => {
    const content = new Content();
    const create = seconds(() => {
      for (let i = 0; i < count; i += SMALL_FILES_PER_FOLDER) {
        mkdirSync(join(directory, `d${Math.floor(i / SMALL_FILES_PER_FOLDER)}`));
      }
      for (let i = 0; i < count; i++) writeFileSync(smallFile(directory, i), content.bytes(SMALL_FILE_BYTES));
    });
    return { create: count / create };
  },

  smallFilesList: (directory, { smallFiles: count }) => {
    let found = 0;
    const list = seconds(() => {
      for (const folder of readdirSync(directory)) found += readdirSync(join(directory, folder)).length;
    });
    if (found !== count) throw new Error(`${found} names listed of ${count}`);
    return { list: count / list };
  },

  smallFilesStat: (directory, { smallFiles: count }) => {
    const stat = seconds(() => {
      for (let i = 0; i < count; i++) {
        if (statSync(smallFile(directory, i)).size !== SMALL_FILE_BYTES) throw new Error(`file ${i} has a wrong size`);
      }
    });
    return { stat: count / stat };
  },

  smallFilesDelete: (directory, { smallFiles: count }) => {
    const took = seconds(() => {
      for (let i = 0; i < count; i++) unlinkSync(smallFile(directory, i));
    });
    return { delete: count / took };
  },

  fsync: (directory, { fsyncs }) => {
    const content = new Content();
    const tookUs: number[] = [];
    withFile(join(directory, "journal"), "a", (fd) => {
      for (let i = -FSYNCS_BEFORE * fsyncs; i < fsyncs; i++) {
        const bytes = content.bytes(APPEND_BYTES);
        const took = seconds(() => {
          writeSync(fd, bytes);
          fsyncSync(fd);
        });
        if (i >= 0) tookUs.push(took * 1e6);
      }
    });
    tookUs.sort((a, b) => a - b);
    return { p50: quantile(tookUs, 0.5), p99: quantile(tookUs, 0.99) };
  },

  randomFsync: (directory, { randomMib, fsyncs }) => {
    const content = new Content();
    const pages = (randomMib * MIB) / PAGE_BYTES;
    let took = 0;
    withFile(join(directory, "random"), "r+", (fd) => {
      const writes = (count: number): void => {
        for (let i = 0; i < count; i++) {
          writeSync(fd, content.bytes(PAGE_BYTES), 0, PAGE_BYTES, content.below(pages) * PAGE_BYTES);
          fsyncSync(fd);
        }
      };
      writes(FSYNCS_BEFORE * fsyncs);
      took = seconds(() => writes(fsyncs));
    });
    return { write: fsyncs / took };
  },

  missingNames: (directory, { lookups }) => ({ lookup: lookUpMissing(directory, lookups) }),

  warmStat: (directory, { warmStats }) => {
    const paths = Array.from({ length: STAT_FILES }, (_, i) => join(directory, `stat-${i}`));
    for (const path of paths) writeFileSync(path, path);
    for (const path of paths) statSync(path);
    const took = seconds(() => {
      for (let i = 0; i < warmStats; i++) statSync(paths[i % STAT_FILES] as string);
    });
    return { stat: (took / warmStats) * 1e6 };
  },

  clear: (directory) => {
    rmSync(directory, { recursive: true, force: true });
    return {};
  },
} as const satisfies Record<string, Task>;

export type TaskName = keyof typeof TASKS;
