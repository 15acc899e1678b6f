// What a worker practises: what programs do most, request by request in the order in which Linux asks for it.

import { ROOT_INO } from "../../format/pfs.ts";
import { CONTENT_BYTES_MAX, type PracticeKernel } from "./kernel.ts";

/** Of a round. */
const FILES = 200;
const FSYNCS = 150;
/** A folder is removed so many rounds after it was made: trees of that many files have more than one level. */
const FOLDERS_KEPT = 2;
const PAGE_BYTES = 4096;
const TABLE_PAGES = (2 * CONTENT_BYTES_MAX) / PAGE_BYTES;
/** Every so manieth file is a large one, has its times set, has a new name. */
const LARGE_EVERY = 50;
const TIMES_EVERY = 4;
const RENAMED_EVERY = 10;

const folderName = (round: number): string => `folder-${round}`;
const fileName = (round: number, i: number): string => `file-${round * FILES + i}`;
const finalName = (round: number, i: number): string =>
  `${fileName(round, i)}${i % RENAMED_EVERY === 0 ? "-renamed" : ""}`;

/** One round, counted from 0; yields after every few requests. */
export async function* exercise(kernel: PracticeKernel, round: number): AsyncGenerator<void> {
  const folder = await kernel.makeDirectory(ROOT_INO, folderName(round));
  const content = contentOf(round);
  yield* makeFiles(kernel, round, folder, content);
  yield* synchronize(kernel, folder, content);
  yield* lookAt(kernel, round, folder);
  if (round >= FOLDERS_KEPT) yield* remove(kernel, round - FOLDERS_KEPT);
}

/** Does not compress, and is another one each round. */
function contentOf(round: number): Uint8Array {
  const words = new Uint32Array(CONTENT_BYTES_MAX / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + round * words.length + 1, 0x9e37_79b1);
  return new Uint8Array(words.buffer);
}

function pageOf(content: Uint8Array, i: number): Uint8Array {
  const at = (i * PAGE_BYTES) % content.length;
  return content.subarray(at, at + PAGE_BYTES);
}

async function* makeFiles(
  kernel: PracticeKernel,
  round: number,
  folder: number,
  content: Uint8Array,
): AsyncGenerator<void> {
  for (let i = 0; i < FILES; i++) {
    await kernel.getAttributes(folder);
    await kernel.lookup(folder, fileName(round, i));
    const file = await kernel.makeFile(folder, fileName(round, i));
    await kernel.missXattr(file, "security.capability");
    await kernel.write(file, 0, i % LARGE_EVERY === 0 ? content : pageOf(content, i));
    if (i % TIMES_EVERY === 0) await kernel.setTimes(file);
    yield;
  }
}

/** Appends that are synced, and pages of a file in place. */
async function* synchronize(kernel: PracticeKernel, folder: number, content: Uint8Array): AsyncGenerator<void> {
  const log = await kernel.makeFile(folder, "log");
  for (let i = 0; i < FSYNCS; i++) {
    await kernel.write(log, i * PAGE_BYTES, pageOf(content, i));
    await kernel.fsync(log);
    yield;
  }
  const table = await kernel.makeFile(folder, "table");
  for (let at = 0; at < TABLE_PAGES * PAGE_BYTES; at += content.length) await kernel.write(table, at, content);
  for (let i = 0; i < FSYNCS; i++) {
    await kernel.write(table, ((i * 37) % TABLE_PAGES) * PAGE_BYTES, pageOf(content, i));
    await kernel.fsync(table);
    yield;
  }
}

async function* lookAt(kernel: PracticeKernel, round: number, folder: number): AsyncGenerator<void> {
  await kernel.list(folder);
  for (let i = 0; i < FILES; i++) {
    const file = await kernel.lookup(folder, fileName(round, i));
    await kernel.read(file, 0, PAGE_BYTES);
    kernel.forget(file, 1);
    if (finalName(round, i) !== fileName(round, i))
      await kernel.rename(folder, fileName(round, i), finalName(round, i));
    yield;
  }
}

async function* remove(kernel: PracticeKernel, round: number): AsyncGenerator<void> {
  const folder = await kernel.lookup(ROOT_INO, folderName(round));
  const names = Array.from({ length: FILES }, (_, i) => finalName(round, i));
  for (const name of [...names, "log", "table"]) {
    await kernel.getAttributes(folder);
    const file = await kernel.lookup(folder, name);
    await kernel.unlink(folder, name);
    // One of the two is from when it was made.
    kernel.forget(file, 2);
    yield;
  }
  await kernel.removeDirectory(ROOT_INO, folderName(round));
  kernel.forget(folder, 2);
}
