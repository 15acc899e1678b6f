// Reads what was given with -o, so that everything behind works with plain typed values. Generic options that say nothing to a
// filesystem are dropped, as every mount helper does; an unknown one is an error.

import { z } from "zod";
import { UsageError } from "../base/usage-error.ts";
import { isGenericMountOption } from "../fuse/kernel/mount-options.ts";
import { MOUNT_OPTIONS, MountOptions } from "./mount-options.ts";

/** Words for fstab and mount(8) only, and what mount(8) reads back from the mount table when it remounts. */
const DROPPED = new Set(
  [
    "defaults auto noauto nofail user nouser users group owner _netdev silent loud mand nomand iversion noiversion",
    "default_permissions user_id group_id rootmode max_read blksize fd fsname subtype",
  ].flatMap((words) => words.split(" ")),
);

const OPTIONS = new Map(
  MOUNT_OPTIONS.flatMap((option) => [option.word, option.opposite ?? option.word].map((word) => [word, option])),
);

function valueOf(word: string, text: string | undefined, read: (text: string) => unknown): unknown {
  if (text === undefined || text === "") throw new UsageError(`mount option '${word}' needs a value: ${word}=…`);
  try {
    return read(text);
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const issue = error.issues[0];
    const message = issue?.code === "invalid_value" ? `takes one of ${issue.values.join(", ")}` : issue?.message;
    throw new UsageError(`mount option '${word}=${text}': ${word} ${message}`);
  }
}

/** Those of ro and rw that these option texts say. */
export function accessIn(texts: readonly string[]): string[] {
  const words = texts.flatMap((text) => text.split(","));
  return words.filter((word) => word === "ro" || word === "rw");
}

/**
 * Reads option texts, each a comma-separated list; a later word overrides an earlier one. `sloppy` passes over unknown
 * words, as mount -s asks. Throws {@link UsageError}.
 */
export function parseMountOptions(texts: readonly string[], sloppy = false): MountOptions {
  const fields: Record<string, unknown> = {};
  const vfsWords: string[] = [];
  for (const item of texts.flatMap((text) => text.split(","))) {
    if (item === "") continue;
    const equals = item.indexOf("=");
    const word = equals < 0 ? item : item.slice(0, equals);
    const value = equals < 0 ? undefined : item.slice(equals + 1);
    const option = OPTIONS.get(word);
    if (option?.read !== undefined) fields[option.field] = valueOf(word, value, option.read);
    else if (option !== undefined && value === undefined) fields[option.field] = word === option.word;
    else if (value === undefined && !DROPPED.has(word) && isGenericMountOption(word)) vfsWords.push(word);
    else if (!DROPPED.has(word) && !/^x-/i.test(word) && !sloppy) {
      throw new UsageError(`unknown mount option '${item}'`);
    }
  }
  return MountOptions.parse({ ...fields, vfsWords });
}
