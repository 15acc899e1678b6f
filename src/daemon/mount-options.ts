// The -o options of a mount, each declared once: the field that it sets, and what is said of it to people. How it is read
// (parse-mount-options.ts) and what help and docs/operation.md tell (mount-options-text.ts) come from here.

import { z } from "zod";
import { formatByteSize, parseByteSize } from "../base/byte-size.ts";
import { SOCKET_PATH_BYTES_MAX, socketPathRefusal } from "../base/socket-path.ts";
import { DEADLINE_MS_DEFAULT } from "../copies/deadline.ts";
import { CONNECTIONS_DEFAULT, CONNECTIONS_MAX, RETRY_COUNT_DEFAULT } from "../nbd/client/policy.ts";
import { CACHE_BYTES_DEFAULT, COMMIT_MS_DEFAULT } from "../volume/defaults.ts";
import { parseMetricsAddress } from "./metrics-address.ts";

const CACHE_MIN_BYTES = 32 * 1024 * 1024;

/** What people give for a field of the options. */
export interface MountOption<Value = unknown> {
  readonly word: string;
  /** What stands behind `=`, by the name that help gives it; without it the word alone says true. */
  readonly value?: string;
  /** The value that such a text means. Throws ZodError, whose message goes on from the word. */
  readonly read?: (text: string) => Value;
  /** The word that takes it back. */
  readonly opposite?: string;
  /** How a value is written; as it is, unless given. */
  readonly write?: (value: Value) => string;
  /** What goes without it, where the field has no default. */
  readonly otherwise?: string;
  /** What it changes. */
  readonly meaning: string;
}

const declared = z.registry<MountOption<z.$output>>();

const reading =
  <T>(schema: z.ZodType<T, string>) =>
  (text: string): T =>
    schema.parse(text);
const size = (takes: string, least: number): ((text: string) => number) =>
  reading(
    z
      .string()
      .transform((text) => parseByteSize(text) ?? Number.NaN)
      .refine((bytes) => bytes >= least, `takes ${takes}`),
  );
const number = (takes: string, fits: (value: number) => boolean): ((text: string) => number) =>
  reading(z.string().transform(Number).refine(fits, `takes ${takes}`));
const wholeNumber = (what: string, least: number, most: number): ((text: string) => number) =>
  number(`${what} from ${least} to ${most}`, (value) => Number.isInteger(value) && value >= least && value <= most);
const matching = (takes: string, pattern: RegExp): ((text: string) => string) =>
  reading(z.string().regex(pattern, `takes ${takes}`));

const MetricsText = z
  .string()
  .refine((text) => parseMetricsAddress(text) !== undefined, "takes [HOST:]PORT, or the path of a socket")
  .refine(
    (text) => !text.startsWith("/") || socketPathRefusal(text) === undefined,
    `takes the path of a socket, which may be ${SOCKET_PATH_BYTES_MAX} bytes long`,
  );
const TransportName = z.enum(["kernel", "fuse-native"]);

export const MountOptions = z.strictObject({
  cacheBytes: z
    .number()
    .int()
    .default(CACHE_BYTES_DEFAULT)
    .register(declared, {
      word: "cache",
      value: "SIZE",
      read: size(`a size of at least ${formatByteSize(CACHE_MIN_BYTES)}, such as 256M or 1G`, CACHE_MIN_BYTES),
      write: formatByteSize,
      meaning: `memory for blocks, at least ${formatByteSize(CACHE_MIN_BYTES)}`,
    }),
  commitSeconds: z
    .number()
    .default(COMMIT_MS_DEFAULT / 1000)
    .register(declared, {
      word: "commit",
      value: "SECONDS",
      read: number("seconds from 1 to 300", (seconds) => seconds >= 1 && seconds <= 300),
      meaning: "longest time between a change and the commit that makes it durable",
    }),
  degraded: z.boolean().default(false).register(declared, {
    word: "degraded",
    meaning: "mount although copies are missing that may know more than those at hand",
  }),
  master: z
    .string()
    .optional()
    .register(declared, {
      word: "master",
      value: "COPY",
      read: matching("newest, first, or a copy by index or UUID", /^(newest|first|[0-7]|[0-9a-f-]{4,36})$/i),
      otherwise: "by select-master",
      meaning: "copy that metadata is read from: newest, first, its index or UUID",
    }),
  deadlineMs: z
    .number()
    .default(DEADLINE_MS_DEFAULT)
    .register(declared, {
      word: "deadline",
      value: "MS",
      read: wholeNumber("whole milliseconds", 100, 600_000),
      meaning: "how long a copy may take longer than the fastest one before it is dropped",
    }),
  remoteTimeoutMs: z
    .number()
    .optional()
    .register(declared, {
      word: "nbd-timeout",
      value: "MS",
      read: wholeNumber("whole milliseconds", 100, 86_400_000),
      otherwise: "as deadline",
      meaning: "how long a request to a remote node may go without an answer",
    }),
  remoteRetries: z
    .number()
    .int()
    .default(RETRY_COUNT_DEFAULT)
    .register(declared, {
      word: "nbd-retry",
      value: "COUNT",
      read: wholeNumber("a whole number", 0, 1_000_000),
      meaning: "how often in a row a lost connection is tried anew while requests wait",
    }),
  remoteConnections: z
    .number()
    .int()
    .default(CONNECTIONS_DEFAULT)
    .register(declared, {
      word: "nbd-connections",
      value: "COUNT",
      read: wholeNumber("a whole number", 1, CONNECTIONS_MAX),
      meaning: "connections to a server that allows for several",
    }),
  resyncBytesPerSecond: z
    .number()
    .default(0)
    .register(declared, {
      word: "resync-rate",
      value: "SIZE",
      read: size("bytes a second, such as 20M, or 0 for no bound", 0),
      write: formatByteSize,
      meaning: "bytes a second that catching up a copy, or a scrub, may move; 0: no bound",
    }),
  readOnly: z.boolean().default(false).register(declared, { word: "ro", opposite: "rw", meaning: "read-only, or not" }),
  transport: TransportName.default("kernel").register(declared, {
    word: "transport",
    value: "NAME",
    read: reading(TransportName),
    meaning: "kernel or fuse-native, as --transport",
  }),
  /** As it was given. */
  metrics: z
    .string()
    .optional()
    .register(declared, {
      word: "metrics",
      value: "[HOST:]PORT",
      read: reading(MetricsText),
      meaning: "serve figures for Prometheus, on the loopback unless HOST is given; or the path of a socket",
    }),
  warmUp: z.boolean().default(true).register(declared, {
    word: "warmup",
    opposite: "nowarmup",
    meaning: "practise while nobody uses the mount, so that a new worker is faster",
  }),
  logPath: z
    .string()
    .optional()
    .register(declared, {
      word: "log",
      value: "FILE",
      read: matching("an absolute path", /^\//),
      meaning: "append the daemon's log to FILE (absolute path)",
    }),
  allowOther: z.boolean().optional().register(declared, {
    word: "allow_other",
    meaning: "let other users in; always so when root mounts",
  }),
  remount: z.boolean().default(false).register(declared, {
    word: "remount",
    meaning: "change ro, rw and the words of mount(8) of a live mount",
  }),
  /** Generic words for the kernel (nosuid, noatime, …), in the order given; a later one overrides an earlier one. */
  vfsWords: z.array(z.string()),
});
export type MountOptions = z.infer<typeof MountOptions>;

/** The default as people would give it. */
function asGiven({ word, opposite, otherwise, write = String }: MountOption, value: unknown): string | undefined {
  if (value === undefined) return otherwise;
  if (typeof value === "boolean") return value ? word : opposite;
  return write(value);
}

/** An option, the field that it sets, and what goes where it is not given. */
export interface DeclaredOption extends MountOption {
  readonly field: string;
  readonly unlessGiven: string | undefined;
}

/** Every option, in the order in which people are told of them. */
export const MOUNT_OPTIONS: readonly DeclaredOption[] = Object.entries(MountOptions.shape).flatMap(
  ([field, schema]) => {
    const option = declared.get(schema) as MountOption | undefined;
    if (option === undefined) return [];
    return [{ ...option, field, unlessGiven: asGiven(option, schema.safeParse(undefined).data) }];
  },
);

/** All the generic words of a mount with these options. */
export const allWords = ({ readOnly, vfsWords }: MountOptions): string[] => [readOnly ? "ro" : "rw", ...vfsWords];
