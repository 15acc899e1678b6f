// Random work on a filesystem, from a seed: each step is a plain record that can be run on any FileSystemRequests, so the
// same steps drive h2ts and the model in memory.

import { FsError } from "../../src/base/errno.ts";
import type { SeededRandom } from "../../src/base/random.ts";
import type { Caller, FileSystemRequests } from "../../src/posix/requests.ts";

const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const ROOT = 1;
const DIRECTORIES = ["a", "b"];
const NAMES = ["x", "y", "z", "n".repeat(100)];

export type Step =
  | { do: "create" | "mkdir" | "unlink" | "rmdir"; at: readonly string[] }
  | { do: "symlink"; at: readonly string[]; target: string }
  | { do: "link" | "rename"; at: readonly string[]; to: readonly string[]; flags: number }
  | { do: "write"; at: readonly string[]; offset: number; length: number; fill: number }
  | { do: "truncate"; at: readonly string[]; size: number }
  | { do: "punch"; at: readonly string[]; offset: number; length: number }
  | { do: "chmod"; at: readonly string[]; mode: number }
  | { do: "setxattr"; at: readonly string[]; name: string; length: number }
  | { do: "sync" };

function place(random: SeededRandom): string[] {
  const name = NAMES[random.below(NAMES.length)] as string;
  return random.below(3) === 0 ? [name] : [DIRECTORIES[random.below(DIRECTORIES.length)] as string, name];
}

/** Sizes and offsets near the edges where block layouts change. */
function edge(random: SeededRandom, max: number): number {
  const bases = [0, 512, 1024, 4096, 16384, 65536, 131072, 262144];
  const base = bases[random.below(bases.length)] as number;
  return Math.min(max, Math.max(0, base + random.below(5) * random.below(900) - 1));
}

export function randomStep(random: SeededRandom, maxBytes: number): Step {
  const at = place(random);
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
      return { do: "create", at };
    case 3:
      return { do: "mkdir", at: random.below(2) === 0 ? [DIRECTORIES[random.below(2)] as string] : at };
    case 4:
      return { do: "unlink", at };
    case 5:
      return { do: "rmdir", at: random.below(2) === 0 ? [DIRECTORIES[random.below(2)] as string] : at };
    case 6:
      return { do: "symlink", at, target: "t".repeat(1 + random.below(700)) };
    case 7:
      return { do: "link", at, to: place(random), flags: 0 };
    case 8: {
      const to = place(random);
      return { do: "rename", at, to, flags: to.join() === at.join() ? 0 : random.below(3) };
    }
    case 9:
    case 10:
    case 11:
      return {
        do: "write",
        at,
        offset: edge(random, maxBytes),
        length: 1 + edge(random, maxBytes),
        fill: random.below(256),
      };
    case 12:
      return { do: "truncate", at, size: edge(random, maxBytes) };
    case 13:
      return { do: "punch", at, offset: edge(random, maxBytes), length: 1 + edge(random, maxBytes) };
    case 14:
      return random.below(2) === 0
        ? { do: "chmod", at, mode: random.below(0o1000) }
        : { do: "setxattr", at, name: `user.${random.below(3)}`, length: random.below(3000) };
    default:
      return { do: "sync" };
  }
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1");

async function resolve(fs: FileSystemRequests, at: readonly string[]): Promise<number> {
  let ino = ROOT;
  for (const name of at) {
    const found = await fs.lookup(ino, bytesOf(name));
    if (found === undefined) throw new FsError("ENOENT");
    fs.forget(found.ino, 1);
    ino = found.ino;
  }
  return ino;
}

/** A pattern begins anew after so many bytes. */
const PATTERN_BYTES = 2 ** 17;
/** By fill: those that were asked for, computed once. */
const patterns = new Map<number, Uint8Array>();

function patternOf(fill: number): Uint8Array {
  const known = patterns.get(fill);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(PATTERN_BYTES);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (fill + at * 7 + (at >>> 9)) & 0xff;
  patterns.set(fill, bytes);
  return bytes;
}

/** A buffer whose bytes depend on their place, so that misplaced data shows; `fill` is 0 to 255. */
export function pattern(offset: number, length: number, fill: number): Uint8Array {
  const whole = patternOf(fill);
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const from = (offset + done) % PATTERN_BYTES;
    const part = whole.subarray(from, from + length - done);
    bytes.set(part, done);
    done += part.length;
  }
  return bytes;
}

/** Runs one step; answers "ok" or the errno's name. */
export async function runStep(fs: FileSystemRequests, step: Step): Promise<string> {
  try {
    await run(fs, step);
    return "ok";
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

async function run(fs: FileSystemRequests, step: Step): Promise<void> {
  if (step.do === "sync") return fs.sync();
  const parent = await resolve(fs, step.at.slice(0, -1));
  const name = bytesOf(step.at.at(-1) as string);
  switch (step.do) {
    case "create": {
      const made = await fs.makeNode(parent, name, 0o100644, 0, 0, CALLER);
      return fs.forget(made.ino, 1);
    }
    case "mkdir": {
      const made = await fs.makeDirectory(parent, name, 0o755, CALLER);
      return fs.forget(made.ino, 1);
    }
    case "symlink": {
      const made = await fs.makeSymlink(parent, name, bytesOf(step.target), CALLER);
      return fs.forget(made.ino, 1);
    }
    case "unlink":
      return fs.unlink(parent, name, CALLER);
    case "rmdir":
      return fs.removeDirectory(parent, name, CALLER);
    case "link": {
      const made = await fs.link(
        await regular(fs, step.at),
        await resolve(fs, step.to.slice(0, -1)),
        bytesOf(step.to.at(-1) as string),
        CALLER,
      );
      return fs.forget(made.ino, 1);
    }
    case "rename":
      return fs.rename(
        parent,
        name,
        await resolve(fs, step.to.slice(0, -1)),
        bytesOf(step.to.at(-1) as string),
        step.flags,
        CALLER,
      );
    case "write":
      await fs.write(await regular(fs, step.at), step.offset, pattern(step.offset, step.length, step.fill), {});
      return;
    case "truncate":
      await fs.setAttributes(await regular(fs, step.at), { size: step.size });
      return;
    case "punch":
      return fs.fallocate(await regular(fs, step.at), step.offset, step.length, 3);
    case "chmod":
      await fs.setAttributes(await regular(fs, step.at), { mode: step.mode });
      return;
    case "setxattr":
      return fs.setXattr(await regular(fs, step.at), step.name, pattern(0, step.length, 1), 0, CALLER, false);
  }
}

async function regular(fs: FileSystemRequests, at: readonly string[]): Promise<number> {
  const ino = await resolve(fs, at);
  if (((await fs.getAttributes(ino)).mode & 0o170000) !== 0o100000) throw new FsError("EINVAL");
  return ino;
}
