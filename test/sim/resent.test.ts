// Requests that had been carried out, but not answered, when a worker died: the kernel sends them again to the next one, which
// answers with what came of them then. Each kind that can't be done twice; each of them done twice would show (I4, trap 4b).

import { describe, expect, it } from "vitest";
import type { FileSystem } from "../../src/posix/filesystem.ts";
import { RenameFlag, XattrFlag } from "../../src/posix/requests.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const ROOT = 1;
const NOBODY = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const REQUEST = 1234;
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Scenery {
  readonly folder: number;
  readonly file: number;
  readonly other: number;
}
type Caller = typeof NOBODY & { readonly requestId?: number; readonly resent?: boolean };
type Call = (fs: FileSystem, at: Scenery, caller: Caller) => unknown;

async function scenery(fs: FileSystem): Promise<Scenery> {
  const folder = (await fs.makeDirectory(ROOT, name("folder"), 0o755, NOBODY)).ino;
  await fs.makeDirectory(folder, name("empty"), 0o755, NOBODY);
  const file = (await fs.makeNode(folder, name("file"), 0o100644, 0, 0, NOBODY)).ino;
  const other = (await fs.makeNode(folder, name("other"), 0o100644, 0, 0, NOBODY)).ino;
  await fs.write(file, 0, name("a record\n"), {});
  await fs.write(other, 0, name("another\n"), {});
  await fs.setXattr(file, "user.there", name("x"), 0, NOBODY, false);
  return { folder, file, other };
}

/** What comes of doing it once more: an error, or a file that is longer, or names that are as they were before. */
const CALLS: Readonly<Record<string, Call>> = {
  mkdir: (fs, { folder }, caller) => fs.makeDirectory(folder, name("new"), 0o750, caller),
  "create (O_EXCL)": (fs, { folder }, caller) => fs.makeNode(folder, name("new"), 0o100600, 0, 0, caller),
  mknod: (fs, { folder }, caller) => fs.makeNode(folder, name("fifo"), 0o010600, 0, 0, caller),
  tmpfile: (fs, { folder }, caller) => fs.makeTemporary(folder, 0o600, caller),
  symlink: (fs, { folder }, caller) => fs.makeSymlink(folder, name("link"), name("file"), caller),
  link: (fs, { folder, file }, caller) => fs.link(file, folder, name("second"), caller),
  unlink: (fs, { folder }, caller) => fs.unlink(folder, name("other"), caller),
  rmdir: (fs, { folder }, caller) => fs.removeDirectory(folder, name("empty"), caller),
  rename: (fs, { folder }, caller) => fs.rename(folder, name("file"), ROOT, name("moved"), 0, caller),
  "rename over another": (fs, { folder }, caller) => fs.rename(folder, name("file"), folder, name("other"), 0, caller),
  "rename (exchange)": (fs, { folder }, caller) =>
    fs.rename(folder, name("file"), folder, name("other"), RenameFlag.EXCHANGE, caller),
  "setxattr (create)": (fs, { file }, caller) =>
    fs.setXattr(file, "user.once", name("y"), XattrFlag.CREATE, caller, false),
  removexattr: (fs, { file }, caller) => fs.removeXattr(file, "user.there", caller),
};

/** As text, so that two outcomes can be compared: what it gave, or why it failed. */
async function outcome(call: () => unknown): Promise<string> {
  try {
    return JSON.stringify((await call()) ?? "done");
  } catch (error) {
    return String(error);
  }
}

describe("a request that had been carried out when the worker died", () => {
  for (const [kind, call] of Object.entries(CALLS)) {
    it(`is answered once more, not done once more: ${kind}`, async () => {
      const real = await (await SimulatedVolume.format(61, [24 * MIB, 32 * MIB])).remount();
      const at = await scenery(real.fs);
      const first = await outcome(() => call(real.fs, at, { ...NOBODY, requestId: REQUEST }));
      const done = await describeFileSystem(real.fs);

      const next = await real.takeOver();
      expect(await describeFileSystem(next.fs)).toEqual(done);
      const again = { ...NOBODY, requestId: REQUEST, resent: true };
      expect(await outcome(() => call(next.fs, at, again))).toBe(first);
      expect(await describeFileSystem(next.fs)).toEqual(done);

      // That worker died, too, after it had committed: the answer is in the journal still.
      const third = await next.takeOver();
      expect(await outcome(() => call(third.fs, at, again))).toBe(first);
      expect(await describeFileSystem(third.fs)).toEqual(done);

      // Asked for anew it is done anew, and that shows.
      const anew = await outcome(() => call(third.fs, at, { ...NOBODY, requestId: REQUEST + 1 }));
      const tree = await describeFileSystem(third.fs);
      expect(anew !== first || JSON.stringify(tree) !== JSON.stringify(done)).toBe(true);
    });
  }

  it("that made an unnamed file finds it there, though the kernel has not heard of it before", async () => {
    const real = await (await SimulatedVolume.format(62, [24 * MIB, 32 * MIB])).remount();
    const first = await real.fs.makeTemporary(ROOT, 0o600, { ...NOBODY, requestId: REQUEST });

    const { fs } = await real.takeOver();
    const asked: number[] = [];
    await fs.takeOver((ino) => Promise.resolve(asked.push(ino) === 0));
    await fs.settled();
    const again = await fs.makeTemporary(ROOT, 0o600, { ...NOBODY, requestId: REQUEST, resent: true });
    expect(again.ino).toBe(first.ino);
    fs.answered(true);
    await new Promise(setImmediate);
    await fs.settled();
    expect(await fs.getAttributes(again.ino)).toEqual(first);

    // Who asked is gone, and the kernel with it lets go of what it was given.
    fs.forget(again.ino, 1);
    await new Promise(setImmediate);
    await fs.settled();
    expect(await outcome(() => fs.getAttributes(again.ino))).toContain("FsError");
  });

  it("that made an unnamed file and does not come again leaves nothing behind", async () => {
    const real = await (await SimulatedVolume.format(63, [24 * MIB, 32 * MIB])).remount();
    const { ino } = await real.fs.makeTemporary(ROOT, 0o600, { ...NOBODY, requestId: REQUEST });
    const { fs } = await real.takeOver();
    await fs.takeOver(() => Promise.resolve(false));
    fs.answered(true);
    await new Promise(setImmediate);
    await fs.settled();
    expect(await outcome(() => fs.getAttributes(ino))).toContain("FsError");
  });
});
