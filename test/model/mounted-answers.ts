// What a read-only mount of a damaged image answers, compared request by request with what the sound image answers that it
// was made from: so that a test can say what may be read, and what must be refused instead of followed (I12).

import { expect } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { FsError } from "../../src/base/errno.ts";
import type { Eventually } from "../../src/base/eventually.ts";
import { DATA_WINDOW_BYTES } from "../../src/format/geometry.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import type { DirectoryEntry } from "../../src/posix/requests.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import type { MountedAnswers } from "../../fixtures/corrupt/recipe.ts";
import { isRefusal } from "./mount-damaged.ts";

const ROOT = 1;
/** Request to read a window, whose number follows. */
const READ = "read ";
/** Longer names are cut short when they are shown. */
const SHOWN_MAX = 20;
const DIRECTORY = 0o04;
const REGULAR = 0o10;
const SYMLINK = 0o12;

interface Place {
  readonly path: string;
  readonly parent: number;
  readonly name: Uint8Array;
  readonly ino: number;
  /** Type bits of its mode, shifted. */
  readonly type: number;
  readonly size: number;
}

/** Answers to requests, by place and request. */
type Answers = Map<string, Map<string, string>>;

/** Asks of damaged images what it has learnt to ask of a sound one. */
export class MountedComparison {
  readonly #clock: Clock;
  readonly #places: readonly Place[];
  readonly #sound: Answers;

  private constructor(clock: Clock, places: readonly Place[], sound: Answers) {
    this.#clock = clock;
    this.#places = places;
    this.#sound = sound;
  }

  /** `sound` is the image that the others were made from. */
  static async with(sound: VolumeImage, clock: Clock): Promise<MountedComparison> {
    const [places, answers] = await mounted(sound, clock, async (fs) => {
      const found = await placesBelow(fs, "", ROOT);
      return [found, await answersOf(fs, found)] as const;
    });
    return new MountedComparison(clock, places, answers);
  }

  /** What is different about this image. A request that ends with anything but an answer or an errno is thrown on. */
  async of(volume: VolumeImage): Promise<MountedAnswers> {
    let answers: Answers;
    try {
      answers = await mounted(volume, this.#clock, (fs) => answersOf(fs, this.#places));
    } catch (error) {
      if (isRefusal(error)) return "refused";
      throw error;
    }
    const found = differences(answers, this.#sound);
    return found.length === 0 ? "as before" : found;
  }

  /**
   * The requests that this image answers as the sound one does, "PATH REQUEST" each; none when it can't be mounted. Of attributes and
   * lists, which tell of what else was lost, only whether they are answered.
   */
  async rightOf(volume: VolumeImage): Promise<ReadonlySet<string>> {
    const right = new Set<string>();
    let answers: Answers;
    try {
      answers = await mounted(volume, this.#clock, (fs) => answersOf(fs, this.#places));
    } catch (error) {
      if (isRefusal(error)) return right;
      throw error;
    }
    for (const [path, here] of answers) {
      for (const [what, got] of here) {
        const isAny = path === "volume" || what === "attributes" || what === "list";
        if (isAny ? got.startsWith("=") : got === this.#sound.get(path)?.get(what)) right.add(`${path} ${what}`);
      }
    }
    return right;
  }
}

async function mounted<T>(volume: VolumeImage, clock: Clock, body: (fs: FileSystem) => Promise<T>): Promise<T> {
  const opened = await openVolume(memoryCopies(volume), { clock, readOnly: true, commitMs: 0 });
  const result = await body(new FileSystem(opened, clock));
  expect(opened.failed, opened.readOnly).toBe(false);
  await opened.close();
  return result;
}

async function list(fs: FileSystem, directory: number): Promise<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = [];
  await fs.readDirectory(
    directory,
    0,
    "none",
    () => (entries.length = 0),
    (entry) => entries.push({ ...entry, name: entry.name.slice() }) < 100,
  );
  return entries;
}

async function placesBelow(fs: FileSystem, path: string, directory: number): Promise<Place[]> {
  const places: Place[] = [];
  for (const { name, ino } of await list(fs, directory)) {
    const text = Buffer.from(name).toString();
    if (text === "." || text === "..") continue;
    const { mode, size } = await fs.getAttributes(ino);
    const shown = text.length > SHOWN_MAX ? `${text.slice(0, 5)}…` : text;
    const place = { path: `${path}/${shown}`, parent: directory, name, ino, type: mode >>> 12, size };
    places.push(place);
    if (place.type === DIRECTORY) places.push(...(await placesBelow(fs, place.path, ino)));
  }
  return places;
}

async function answersOf(fs: FileSystem, places: readonly Place[]): Promise<Answers> {
  const answers: Answers = new Map();
  answers.set("volume", new Map([["statistics", await answer(() => fs.statistics())]]));
  answers.set("/", await askOf(fs, ROOT, DIRECTORY, 0));
  for (const { path, parent, name, ino, type, size } of places) {
    const lookup = await answer(async () => (await fs.lookup(parent, name))?.ino);
    answers.set(path, new Map([["lookup", lookup], ...(await askOf(fs, ino, type, size))]));
  }
  return answers;
}

/** Asks of an inode all that can be asked of one of its type without changing it. */
async function askOf(fs: FileSystem, ino: number, type: number, size: number): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  const ask = async (what: string, request: () => Eventually<unknown>): Promise<void> =>
    void answers.set(what, await answer(request));
  await ask("attributes", () => fs.getAttributes(ino));
  await ask("xattrs", async () => {
    const values: unknown[] = [];
    for (const name of await fs.listXattrs(ino)) values.push(name, await fs.getXattr(ino, name));
    return values;
  });
  if (type === DIRECTORY) await ask("list", () => list(fs, ino));
  if (type === SYMLINK) await ask("readlink", () => fs.readlink(ino));
  if (type !== REGULAR) return answers;
  for (let window = 0; window * DATA_WINDOW_BYTES < size; window++) {
    await ask(`${READ}${window}`, async () => {
      const { pieces } = await fs.read(ino, window * DATA_WINDOW_BYTES, DATA_WINDOW_BYTES);
      return Buffer.concat(pieces).toString("latin1");
    });
  }
  return answers;
}

async function answer(request: () => Eventually<unknown>): Promise<string> {
  try {
    return `= ${JSON.stringify(await request())}`;
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

/** The words of MountedAnswers. */
function differences(answers: Answers, sound: Answers): string[] {
  const places = new Map<string, string[]>();
  for (const [path, here] of answers) {
    for (const [outcome, whats] of changed(here, sound.get(path) as typeof here)) {
      const what = `${whats.length === here.size ? "" : ` ${joined(whats)}`}: ${outcome}`;
      places.set(what, [...(places.get(what) ?? []), path]);
    }
  }
  return [...places].map(([what, paths]) => paths.join(" ") + what);
}

/** Requests to one place whose answer is not the sound one, by what they gave instead. */
function changed(here: ReadonlyMap<string, string>, sound: ReadonlyMap<string, string>): Map<string, string[]> {
  const byOutcome = new Map<string, string[]>();
  for (const [what, got] of here) {
    if (got === sound.get(what)) continue;
    const outcome = got.startsWith("=") ? "other" : got;
    byOutcome.set(outcome, [...(byOutcome.get(outcome) ?? []), what]);
  }
  return byOutcome;
}

/** Requests, reads of neighbouring windows as one. */
function joined(whats: readonly string[]): string {
  const reads = whats.flatMap((what) => (what.startsWith(READ) ? [Number(what.slice(READ.length))] : []));
  const words = whats.filter((what) => !what.startsWith(READ));
  for (let first = 0, i = 1; i <= reads.length; i++) {
    if (reads[i] === (reads[i - 1] as number) + 1) continue;
    const [from, to] = [reads[first] as number, reads[i - 1] as number];
    words.push(from === to ? `window ${from}` : `windows ${from}-${to}`);
    first = i;
  }
  return words.join(", ");
}
