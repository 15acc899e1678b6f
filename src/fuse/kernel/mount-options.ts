// Generic mount option words (mount(8)) as the flags of mount(2). Words of h2ts itself and of fstab are dealt with before.

import type { MountEntry } from "../../base/mounted-filesystems.ts";

const RDONLY = 1;
const NOSUID = 2;
const NODEV = 4;
const NOEXEC = 8;
const SYNCHRONOUS = 16;
const DIRSYNC = 128;
const NOSYMFOLLOW = 256;
const NOATIME = 1024;
const NODIRATIME = 2048;
const RELATIME = 1 << 21;
const STRICTATIME = 1 << 24;
const LAZYTIME = 1 << 25;

export const REMOUNT_FLAG = 32;

/** Each word: flags it sets, flags it clears. */
const WORDS: ReadonlyMap<string, readonly [set: number, clear: number]> = new Map([
  ["defaults", [0, 0]],
  ["ro", [RDONLY, 0]],
  ["rw", [0, RDONLY]],
  ["nosuid", [NOSUID, 0]],
  ["suid", [0, NOSUID]],
  ["nodev", [NODEV, 0]],
  ["dev", [0, NODEV]],
  ["noexec", [NOEXEC, 0]],
  ["exec", [0, NOEXEC]],
  ["sync", [SYNCHRONOUS, 0]],
  ["async", [0, SYNCHRONOUS]],
  ["dirsync", [DIRSYNC, 0]],
  ["nosymfollow", [NOSYMFOLLOW, 0]],
  ["symfollow", [0, NOSYMFOLLOW]],
  ["noatime", [NOATIME, RELATIME | STRICTATIME]],
  ["atime", [0, NOATIME]],
  ["nodiratime", [NODIRATIME, 0]],
  ["diratime", [0, NODIRATIME]],
  ["relatime", [RELATIME, NOATIME | STRICTATIME]],
  ["norelatime", [0, RELATIME]],
  ["strictatime", [STRICTATIME, NOATIME | RELATIME]],
  ["nostrictatime", [0, STRICTATIME]],
  ["lazytime", [LAZYTIME, 0]],
  ["nolazytime", [0, LAZYTIME]],
]);

/** Whether `word` is one of the generic options. */
export function isGenericMountOption(word: string): boolean {
  return WORDS.has(word);
}

/** The flags that the words ask for, the later word winning; nosuid and nodev unless they say otherwise. */
export function mountFlags(words: readonly string[]): number {
  let flags = NOSUID | NODEV;
  for (const word of words) {
    const change = WORDS.get(word);
    if (change === undefined) throw new Error(`unknown mount option: ${word}`);
    flags = (flags & ~change[1]) | change[0];
  }
  return flags;
}

/**
 * The words by which a mount is what it is, to be followed by those that change it: a remount begins with nothing. Of the filesystem's
 * own options, ro is left out: which of the two it is the mount says.
 */
export function wordsOfMount({ options, ownOptions }: Pick<MountEntry, "options" | "ownOptions">): string[] {
  const own = ownOptions.filter((word) => word !== "ro" && word !== "rw");
  const words = [...options, ...own].filter(isGenericMountOption);
  // What goes without saying, unless the words say otherwise.
  const opposites = [
    ["nosuid", "suid"],
    ["nodev", "dev"],
  ].flatMap(([word = "", opposite = ""]) => (words.includes(word) ? [] : [opposite]));
  const atime = words.includes("noatime") || words.includes("relatime") ? [] : ["strictatime"];
  return [...opposites, ...atime, ...words];
}

/** The flags that fusermount3 sets for an ordinary user, and its words for them. */
const USER_WORDS: readonly (readonly [flag: number, word: string])[] = [
  [RDONLY, "ro"],
  [NOEXEC, "noexec"],
  [SYNCHRONOUS, "sync"],
  [DIRSYNC, "dirsync"],
  [NOATIME, "noatime"],
];

/** It sets these whatever it is told. */
const FORCED = NOSUID | NODEV;

/** What it can't do: take those away, or set others. */
const ROOT_WORDS: readonly (readonly [flag: number, word: string])[] = [
  [NOSUID, "suid"],
  [NODEV, "dev"],
  [NODIRATIME, "nodiratime"],
  [STRICTATIME, "strictatime"],
  [LAZYTIME, "lazytime"],
  [NOSYMFOLLOW, "nosymfollow"],
];

/** The same as fusermount3 takes it, which does not even know words for what is the default. Throws for what only root may have. */
export function fusermountWords(words: readonly string[]): string[] {
  let flags = mountFlags(words) ^ FORCED;
  // It goes without saying.
  if ((flags & NOATIME) !== 0) flags &= ~NODIRATIME;
  const wordsOf = (known: typeof USER_WORDS): string[] =>
    known.filter(([flag]) => (flags & flag) !== 0).map(([, word]) => word);
  const refused = wordsOf(ROOT_WORDS);
  if (refused.length > 0) throw new Error(`only root may mount with ${refused.join(", ")}`);
  return wordsOf(USER_WORDS);
}
