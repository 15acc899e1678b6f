// End-to-end: what each call does to times, link counts and sizes, seen through the kernel's cache as programs see it.

import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { MountedVolume } from "./posix-mounted.ts";
import { NOW, O, OMIT, RENAME, S, type Status, errnoOf, sys } from "./posix-system.ts";

/** A coarse clock stamps files: shorter than this apart, two changes may carry one time. */
const TICK_MS = 12;
const pause = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TICK_MS);

/** Which of a, m and c (times) and n (links) of `path` a call changes, in this order. */
function changed(path: string, body: () => void, after: string = path): string {
  const before = sys.lstat(path);
  pause();
  body();
  return difference(before, sys.lstat(after));
}

function difference(before: Status, after: Status): string {
  const fields = { a: "atime", m: "mtime", c: "ctime", n: "nlink" } as const;
  const letters = Object.entries(fields).filter(([, field]) => before[field] !== after[field]);
  for (const [, field] of letters) {
    if (field !== "nlink" && field !== "atime") expect(after[field]).toBeGreaterThan(before[field]);
  }
  return letters.map(([letter]) => letter).join("");
}

export function attributesSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("attributes", () => {
    it("creation gives one time to the file and to its directory", () => {
      const d = volume().folder();
      const makers: Record<string, (path: string) => void> = {
        file: (path) => sys.close(sys.open(path, O.CREAT | O.EXCL | O.WRONLY, 0o640)),
        dir: (path) => sys.mkdir(path, 0o750),
        fifo: (path) => sys.mknod(path, S.FIFO | 0o600),
        symlink: (path) => sys.symlink("x", path),
      };
      for (const [name, make] of Object.entries(makers)) {
        const links = name === "dir" ? "n" : "";
        expect(
          changed(d, () => make(`${d}/${name}`)),
          name,
        ).toBe(`mc${links}`);
        const status = sys.lstat(`${d}/${name}`);
        expect(status.mtime).toBe(status.ctime);
        expect(status.atime).toBe(status.ctime);
        expect(status.nlink).toBe(name === "dir" ? 2 : 1);
        expect(sys.lstat(d).ctime).toBe(status.ctime);
        if (can.linuxCalls) expect(status.btime).toBe(status.ctime);
      }
    });

    // The kernel stamps what is written itself. Where that makes a time of its own it has to send it, and a finer clock of ours would
    // let a file be written before it was made.
    it.skipIf(!can.linuxCalls)("a file made and written within a tick of the clock has one time", () => {
      const d = volume().folder();
      const files = Array.from({ length: 100 }, (_, i) => `${d}/${i}`);
      for (const file of files) writeFileSync(file, "x");
      const statuses = files.map((file) => sys.lstat(file));
      for (const { btime, mtime } of statuses) expect(mtime).toBeGreaterThanOrEqual(btime ?? 0n);
      expect(statuses.filter(({ btime, mtime }) => mtime === btime).length).toBeGreaterThan(files.length / 2);
    });

    it("each call changes the times and counts it should and no others", () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x".repeat(100));
      sys.mkdir(`${d}/dir`);
      const table: [string, string, () => void, string?][] = [
        ["c", file, () => sys.chmod(file, 0o600)],
        ["c", file, () => sys.lchown(file, 1000, 1000)],
        ["cn", file, () => sys.link(file, `${d}/second`)],
        ["mc", d, () => sys.link(file, `${d}/third`)],
        ["cn", file, () => sys.unlink(`${d}/second`)],
        ["mc", d, () => sys.unlink(`${d}/third`)],
        ["c", file, () => sys.rename(file, `${d}/moved`), `${d}/moved`],
        ["mc", d, () => sys.rename(`${d}/moved`, file)],
        ["mc", `${d}/dir`, () => sys.rename(file, `${d}/dir/file`)],
        ["mc", d, () => sys.rename(`${d}/dir/file`, file)],
        ["mcn", d, () => sys.mkdir(`${d}/new`)],
        ["mcn", `${d}/dir`, () => sys.rename(`${d}/new`, `${d}/dir/new`)],
        ["mcn", d, () => sys.rename(`${d}/dir/new`, `${d}/new`)],
        ["mcn", d, () => sys.rmdir(`${d}/new`)],
        ["mc", file, () => sys.truncate(file, 10)],
        ["mc", file, () => sys.truncate(file, 100_000)],
        ["mc", file, () => writeFileSync(file, "again", { flag: "r+" })],
        ["mc", file, () => writeFileSync(file, "")],
        ["c", file, () => sys.setXattr(file, "user.a", "1")],
        ["c", file, () => sys.removeXattr(file, "user.a")],
        ["", file, () => expect(errnoOf(() => sys.removeXattr(file, "user.a"))).toBe("ENODATA")],
        ["", file, () => expect(errnoOf(() => sys.unlink(`${d}/dir`))).toBe("EISDIR")],
        ["", d, () => expect(errnoOf(() => sys.mkdir(file))).toBe("EEXIST")],
        ["", d, () => expect(errnoOf(() => sys.rmdir(file))).toBe("ENOTDIR")],
        ["", file, () => expect(errnoOf(() => sys.link(file, `${d}/dir`))).toBe("EEXIST")],
      ];
      for (const [expected, path, body, after] of table) {
        expect(changed(path, body, after), `${String(body)} on ${path}`).toBe(expected);
      }
    });

    it("a truncation to the size there is changes nothing, O_TRUNC always the times", () => {
      const file = `${volume().folder()}/file`;
      // libfuse 2 does not say whether it was truncate or ftruncate, which always changes them.
      const same = can.nanoseconds ? "" : "mc";
      writeFileSync(file, "12345");
      expect(changed(file, () => sys.truncate(file, 5))).toBe(same);
      expect(
        changed(file, () => {
          sys.truncate(file, 5);
          volume().dropCaches();
        }),
      ).toBe(same);
      expect(changed(file, () => sys.close(sys.open(file, O.WRONLY | O.TRUNC)))).toBe("mc");
      expect(sys.lstat(file).size).toBe(0);
      expect(changed(file, () => sys.close(sys.open(file, O.WRONLY | O.TRUNC)))).toBe("mc");
    });

    it.skipIf(!can.linuxCalls)("rename flags and fallocate change the times they should", () => {
      const d = volume().folder();
      writeFileSync(`${d}/a`, "a".repeat(10_000));
      writeFileSync(`${d}/b`, "b");
      expect(changed(`${d}/a`, () => sys.rename(`${d}/a`, `${d}/b`, RENAME.EXCHANGE), `${d}/b`)).toBe("c");
      expect(changed(`${d}/a`, () => sys.rename(`${d}/a`, `${d}/b`, RENAME.EXCHANGE), `${d}/b`)).toBe("c");
      const fd = sys.open(`${d}/a`, O.RDWR);
      expect(changed(`${d}/a`, () => sys.fallocate(fd, 3, 0, 4096))).toBe("mc");
      sys.close(fd);
    });

    it.skipIf(!can.nanoseconds)("nanoseconds, before 1970 and far ahead, survive a remount", async () => {
      const d = volume().folder();
      const times = [
        0n,
        1n,
        999_999_999n,
        -1n,
        -86_400_000_000_001n,
        1_700_000_000_123_456_789n,
        2n ** 33n * 1_000_000_000n,
      ];
      for (const [index, time] of times.entries()) {
        writeFileSync(`${d}/${index}`, "x");
        sys.symlink("x", `${d}/link${index}`);
        sys.utimens(`${d}/${index}`, time, -time);
        sys.utimens(`${d}/link${index}`, -time, time);
      }
      const check = (): void => {
        for (const [index, time] of times.entries()) {
          expect(sys.lstat(`${d}/${index}`)).toMatchObject({ atime: time, mtime: -time });
          expect(sys.lstat(`${d}/link${index}`)).toMatchObject({ atime: -time, mtime: time });
        }
      };
      check();
      volume().dropCaches();
      check();
      await volume().remount();
      check();
    });

    it.skipIf(!can.nanoseconds)("utimensat with NOW and OMIT", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      sys.utimens(file, 1n, 2n);
      expect(changed(file, () => sys.utimens(file, OMIT, OMIT))).toBe("");
      expect(changed(file, () => sys.utimens(file, 5n, OMIT))).toBe("ac");
      expect(changed(file, () => sys.utimens(file, OMIT, NOW))).toBe("mc");
      expect(sys.lstat(file).atime).toBe(5n);
      expect(changed(file, () => sys.utimens(file, NOW, NOW))).toBe("amc");
    });

    it.skipIf(!can.linuxCalls)("the birth time never changes", async () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      const { btime } = sys.lstat(file);
      expect(Number((btime ?? 0n) / 1_000_000n)).toBeGreaterThan(Date.now() - 60_000);
      pause();
      writeFileSync(file, "again");
      sys.utimens(file, 1n, 1n);
      sys.rename(file, `${file}2`);
      await volume().remount();
      expect(sys.lstat(`${file}2`).btime).toBe(btime);
    });

    it("writes through a descriptor and through the page cache carry one size and time", () => {
      const file = `${volume().folder()}/file`;
      const fd = sys.open(file, O.CREAT | O.RDWR);
      for (let i = 0; i < 50; i++) {
        sys.write(fd, Buffer.alloc(1000, i));
        expect(sys.fstat(fd).size).toBe((i + 1) * 1000);
        expect(sys.lstat(file).size).toBe((i + 1) * 1000);
      }
      const before = sys.lstat(file);
      sys.fsync(fd);
      sys.close(fd);
      expect(difference(before, sys.lstat(file))).toBe("");
      volume().dropCaches();
      expect(difference(before, sys.lstat(file))).toBe("");
      expect(sys.lstat(file).blocks).toBeGreaterThanOrEqual(Math.ceil(50_000 / 512));
    });
  });
}
