// The -o options of a mount, read once and validated, so that everything behind works with plain typed values.
// Generic options that say nothing to a filesystem are dropped, as every mount helper does; an unknown one is an error.

import { z } from "zod";
import { parseByteSize } from "../base/byte-size.ts";
import { SOCKET_PATH_BYTES_MAX, socketPathRefusal } from "../base/socket-path.ts";
import { UsageError } from "../base/usage-error.ts";
import { isGenericMountOption } from "../fuse/kernel/mount-options.ts";
import { parseMetricsAddress } from "./metrics-address.ts";
import { CONNECTIONS_MAX, RETRY_COUNT_DEFAULT } from "../nbd/client/policy.ts";

export const CACHE_DEFAULT_BYTES = 256 * 1024 * 1024;
const CACHE_MIN_BYTES = 32 * 1024 * 1024;
const COMMIT_DEFAULT_SECONDS = 5;
const DEADLINE_DEFAULT_MS = 5000;

export const TransportName = z.enum(["kernel", "fuse-native"]);
export type TransportName = z.infer<typeof TransportName>;

export const MountOptions = z.strictObject({
  cacheBytes: z.number().int(),
  commitSeconds: z.number(),
  /** How long a copy may take longer than the fastest one before it is given up. */
  deadlineMs: z.number(),
  /** How long a request to a remote node may go without an answer; undefined: as long as a copy may take. */
  remoteTimeoutMs: z.number().optional(),
  /** So often in a row a lost connection is tried anew. */
  remoteRetries: z.number().int(),
  /** By so many connections a remote node is asked whose server allows for several; undefined: by as many as is usual. */
  remoteConnections: z.number().int().optional(),
  /** Go on without the copies that are missing, whatever they may hold. */
  degraded: z.boolean(),
  /** Which complete copy is the master: newest, first, or a copy by its name. */
  master: z.string().optional(),
  /** Most bytes a second that catching up copies and a scrub move; 0 for no bound. */
  resyncBytesPerSecond: z.number(),
  readOnly: z.boolean(),
  /** Practise while nobody uses the mount. A supervisor of an earlier build does not say. */
  warmUp: z.boolean().default(true),
  remount: z.boolean(),
  transport: TransportName,
  /** Undefined: on for root, off for everybody else. */
  allowOther: z.boolean().optional(),
  /** Absolute path of the daemon's log. */
  logPath: z.string().optional(),
  /** Where metrics are served, as it was given. */
  metrics: z.string().optional(),
  /** Generic words for the kernel (nosuid, noatime, …), in the order given; a later one overrides an earlier one. */
  vfsWords: z.array(z.string()),
});
export type MountOptions = z.infer<typeof MountOptions>;

/** Words for fstab and mount(8) only, and what mount(8) reads back from the mount table when it remounts. */
const DROPPED = new Set(
  [
    "defaults auto noauto nofail user nouser users group owner _netdev silent loud mand nomand iversion noiversion",
    "default_permissions user_id group_id rootmode max_read blksize fd fsname subtype",
  ].flatMap((words) => words.split(" ")),
);

const CacheSize = z
  .string()
  .transform((text) => parseByteSize(text) ?? Number.NaN)
  .refine((bytes) => bytes >= CACHE_MIN_BYTES, "takes a size of at least 32M, such as 256M or 1G");
const number = (takes: string, fits: (value: number) => boolean): z.ZodType<number> =>
  z.string().transform(Number).refine(fits, `takes ${takes}`);
const wholeNumber = (what: string, least: number, most: number): z.ZodType<number> =>
  number(`${what} from ${least} to ${most}`, (value) => Number.isInteger(value) && value >= least && value <= most);
const CommitSeconds = number("seconds from 1 to 300", (seconds) => seconds >= 1 && seconds <= 300);
const DeadlineMs = wholeNumber("whole milliseconds", 100, 600_000);
const RemoteTimeoutMs = wholeNumber("whole milliseconds", 100, 86_400_000);
const RemoteRetries = wholeNumber("a whole number", 0, 1_000_000);
const RemoteConnections = wholeNumber("a whole number", 1, CONNECTIONS_MAX);
const Master = z
  .string()
  .regex(/^(newest|first|[0-7]|[0-9a-f-]{4,36})$/i, "takes newest, first, or a copy by index or UUID");
const Rate = z
  .string()
  .transform((text) => parseByteSize(text) ?? Number.NaN)
  .refine((bytes) => bytes >= 0, "takes bytes a second, such as 20M, or 0 for no bound");
const Metrics = z
  .string()
  .refine((text) => parseMetricsAddress(text) !== undefined, "takes [HOST:]PORT, or the path of a socket")
  .refine(
    (text) => !text.startsWith("/") || socketPathRefusal(text) === undefined,
    `takes the path of a socket, which may be ${SOCKET_PATH_BYTES_MAX} bytes long`,
  );
const LogPath = z.string().regex(/^\//, "takes an absolute path");

function valueOf<T>(word: string, text: string | undefined, schema: z.ZodType<T>): T {
  if (text === undefined || text === "") throw new UsageError(`mount option '${word}' needs a value: ${word}=…`);
  const parsed = schema.safeParse(text);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const message = issue?.code === "invalid_value" ? `takes one of ${issue.values.join(", ")}` : issue?.message;
  throw new UsageError(`mount option '${word}=${text}': ${word} ${message}`);
}

/** All the generic words of a mount with these options. */
export const allWords = ({ readOnly, vfsWords }: MountOptions): string[] => [readOnly ? "ro" : "rw", ...vfsWords];

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
  const options: MountOptions = {
    cacheBytes: CACHE_DEFAULT_BYTES,
    commitSeconds: COMMIT_DEFAULT_SECONDS,
    deadlineMs: DEADLINE_DEFAULT_MS,
    remoteRetries: RETRY_COUNT_DEFAULT,
    degraded: false,
    resyncBytesPerSecond: 0,
    readOnly: false,
    warmUp: true,
    remount: false,
    transport: "kernel",
    vfsWords: [],
  };
  for (const item of texts.flatMap((text) => text.split(","))) {
    if (item === "") continue;
    const equals = item.indexOf("=");
    const word = equals < 0 ? item : item.slice(0, equals);
    const value = equals < 0 ? undefined : item.slice(equals + 1);
    if (word === "cache") options.cacheBytes = valueOf(word, value, CacheSize);
    else if (word === "commit") options.commitSeconds = valueOf(word, value, CommitSeconds);
    else if (word === "deadline") options.deadlineMs = valueOf(word, value, DeadlineMs);
    else if (word === "nbd-timeout") options.remoteTimeoutMs = valueOf(word, value, RemoteTimeoutMs);
    else if (word === "nbd-retry") options.remoteRetries = valueOf(word, value, RemoteRetries);
    else if (word === "nbd-connections") options.remoteConnections = valueOf(word, value, RemoteConnections);
    else if (word === "master") options.master = valueOf(word, value, Master);
    else if (word === "resync-rate") options.resyncBytesPerSecond = valueOf(word, value, Rate);
    else if (value === undefined && word === "degraded") options.degraded = true;
    else if (word === "transport") options.transport = valueOf(word, value, TransportName);
    else if (word === "metrics") options.metrics = valueOf(word, value, Metrics);
    else if (word === "log") options.logPath = valueOf(word, value, LogPath);
    else if (value === undefined && word === "ro") options.readOnly = true;
    else if (value === undefined && word === "rw") options.readOnly = false;
    else if (value === undefined && word === "warmup") options.warmUp = true;
    else if (value === undefined && word === "nowarmup") options.warmUp = false;
    else if (value === undefined && word === "remount") options.remount = true;
    else if (value === undefined && word === "allow_other") options.allowOther = true;
    else if (value === undefined && !DROPPED.has(word) && isGenericMountOption(word)) options.vfsWords.push(word);
    else if (!DROPPED.has(word) && !/^x-/i.test(word) && !sloppy) {
      throw new UsageError(`unknown mount option '${item}'`);
    }
  }
  return options;
}
