// The command line of mkfs.h2ts, validated. Throws UsageError with one line that names the wrong thing.

import { Command, CommanderError } from "commander";
import { z } from "zod";
import { parseByteSize } from "../src/base/byte-size.ts";
import { UsageError } from "../src/base/usage-error.ts";
import { isZero, parseUuid } from "../src/base/uuid.ts";
import { CHECK_NAMES, type CheckType } from "../src/format/check.ts";
import { COPIES_MAX } from "../src/format/geometry.ts";

const LABEL_MAX_BYTES = 63;

const Options = z.object({
  label: z
    .string()
    .refine((s) => Buffer.byteLength(s) <= LABEL_MAX_BYTES, `-L: a label has at most ${LABEL_MAX_BYTES} bytes`)
    .refine((s) => !/[\0-\x1f\x7f/]/.test(s), "-L: a label has no control characters and no /")
    .default(""),
  uuid: z
    .string()
    .refine((s) => parseUuid(s) !== undefined, "-U: not a UUID (write it as 8-4-4-4-12 hexadecimal digits)")
    .transform((s) => parseUuid(s))
    .refine((uuid) => uuid === undefined || !isZero(uuid), "-U: the UUID of a volume is not zero")
    .optional(),
  size: z
    .string()
    .refine((s) => (parseByteSize(s) ?? 0) > 0, "-s: not a size (write it as 512M, 10G or a number of bytes)")
    .transform((s) => parseByteSize(s))
    .optional(),
  copies: z
    .string()
    .refine((s) => /^[1-9]\d*$/.test(s) && Number(s) <= COPIES_MAX, `-n: takes a number from 1 to ${COPIES_MAX}`)
    .transform(Number)
    .optional(),
  check: z.enum(["xxh64", "crc32", "sha256"], "--check: takes one of xxh64, crc32, sha256"),
  force: z.boolean().default(false),
  quiet: z.boolean().default(false),
  dryRun: z.boolean().default(false),
});

export interface MkfsOptions {
  readonly label: string;
  readonly uuid: Uint8Array | undefined;
  readonly sizeBytes: number | undefined;
  readonly copies: number | undefined;
  readonly checkName: string;
  readonly checkType: CheckType;
  readonly force: boolean;
  readonly quiet: boolean;
  readonly dryRun: boolean;
  readonly targets: readonly string[];
}

const EPILOGUE = `
One copy per TARGET: the path of an image (created sparse with the size of -s) or a block device.
NODE+NODE+... is one copy on several nodes in a row; -n with one TARGET puts that many copies on it.

  mkfs.h2ts -s 10G a.img b.img          a volume with two copies in two image files
  mkfs.h2ts /dev/sdb /dev/sdc+/dev/sdd  two copies, the second on two disks
  mkfs.h2ts -n 2 /dev/sdb               two copies on one disk`;

/** Reads the words after the command's name; undefined when only help or the version was asked for (and printed). */
export function parseOptions(words: readonly string[], version: string): MkfsOptions | undefined {
  const command = new Command("mkfs.h2ts")
    .description("Formats images or block devices as one h2ts volume with a copy on each.")
    .usage("[-L LABEL] [-U UUID] [-s SIZE] [-n COPIES] [--check TYPE] [-f] [-q] [--dry-run] TARGET...")
    .argument("<TARGET...>")
    .option("-L, --label <LABEL>", "name of the volume")
    .option("-U, --uuid <UUID>", "identity of the volume (default: random)")
    .option("-s, --size <SIZE>", "size of image files: a number with K, M, G or T")
    .option("-n, --copies <COPIES>", "number of copies, put on one TARGET")
    .option("--check <TYPE>", "check code: xxh64, crc32 or sha256", "xxh64")
    .option("-f, --force", "overwrite whatever the targets hold")
    .option("-q, --quiet", "print nothing but errors")
    .option("--dry-run", "say what would be made and change nothing")
    .version(version, "-V, --version")
    .addHelpText("after", EPILOGUE)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    command.parse([...words], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new UsageError(`${error.message.replace(/^error: /, "").replaceAll("\n", " ")}; see mkfs.h2ts --help`);
  }
  const parsed = Options.safeParse(command.opts());
  if (!parsed.success) throw new UsageError(parsed.error.issues[0]?.message ?? "wrong options");
  const { size, check, ...rest } = parsed.data;
  const targets = command.args;
  if (targets.includes("")) throw new UsageError("a TARGET is empty");
  if (rest.copies !== undefined && targets.length > 1 && rest.copies !== targets.length) {
    throw new UsageError(`-n ${rest.copies} goes with one TARGET, not ${targets.length}: each TARGET is one copy`);
  }
  if (targets.length > COPIES_MAX)
    throw new UsageError(`${targets.length} targets: a volume has at most ${COPIES_MAX} copies`);
  return {
    ...rest,
    uuid: rest.uuid,
    copies: rest.copies,
    sizeBytes: size,
    checkName: check,
    checkType: CHECK_NAMES[check] as CheckType,
    targets,
  };
}
