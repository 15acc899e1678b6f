// End-to-end: what is in files. Holes, sizes, the ways of opening and writing, direct and mapped I/O, ranges.

import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { FILE_SIZE_MAX } from "../../src/format/geometry.ts";
import type { MountedVolume } from "./posix-mounted.ts";
import { FALLOC, O, SEEK, errnoOf, sys } from "./posix-system.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const ENXIO = "ENXIO";
const PYTHON = "/usr/bin/python3";

function python(code: string, ...words: string[]): void {
  const run = spawnSync(PYTHON, ["-c", code, ...words], { encoding: "utf8", timeout: 60_000 });
  expect(run, `${run.stdout}${run.stderr}`).toMatchObject({ status: 0 });
}

export function contentSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("content", () => {
    it("files have holes that read as zeros and take no room", () => {
      const file = `${volume().folder()}/file`;
      const fd = sys.open(file, O.CREAT | O.RDWR);
      sys.pwrite(fd, Buffer.from("end"), 100 * MIB);
      sys.pwrite(fd, Buffer.from("middle"), 50 * MIB + 123);
      sys.fsync(fd);
      volume().dropCaches();
      expect(sys.fstat(fd)).toMatchObject({ size: 100 * MIB + 3 });
      expect(sys.fstat(fd).blocks).toBeLessThan(1024);
      expect(Buffer.from(sys.pread(fd, 8, 50 * MIB + 122)).toString()).toBe("\0middle\0");
      expect(Buffer.from(sys.pread(fd, 4096, 7 * MIB)).equals(Buffer.alloc(4096))).toBe(true);
      sys.close(fd);
    });

    it.skipIf(!can.linuxCalls)(
      "a large file that was truncated takes no room, by what the kernel remembers of it",
      async () => {
        const file = `${volume().folder()}/file`;
        writeFileSync(file, Buffer.alloc(150 * MIB, 1));
        volume().dropCaches();
        sys.truncate(file, 0);
        await expect.poll(() => statSync(file).blocks, { timeout: 10_000 }).toBe(0);
      },
    );

    it.skipIf(!can.linuxCalls)("SEEK_DATA and SEEK_HOLE tell where", () => {
      const fd = sys.open(`${volume().folder()}/file`, O.CREAT | O.RDWR);
      sys.ftruncate(fd, 10 * MIB);
      expect(errnoOf(() => sys.lseek(fd, 0, SEEK.DATA))).toBe(ENXIO);
      expect(errnoOf(() => sys.lseek(fd, -1, SEEK.DATA))).toBe(ENXIO);
      expect(sys.lseek(fd, 0, SEEK.HOLE)).toBe(0);
      sys.pwrite(fd, Buffer.alloc(64 * KIB, 1), MIB);
      sys.pwrite(fd, Buffer.alloc(64 * KIB, 1), 5 * MIB);
      expect(sys.lseek(fd, 0, SEEK.DATA)).toBe(MIB);
      expect(sys.lseek(fd, MIB, SEEK.HOLE)).toBe(MIB + 64 * KIB);
      expect(sys.lseek(fd, MIB + 64 * KIB, SEEK.DATA)).toBe(5 * MIB);
      expect(sys.lseek(fd, 6 * MIB, SEEK.HOLE)).toBe(6 * MIB);
      expect(errnoOf(() => sys.lseek(fd, 6 * MIB, SEEK.DATA))).toBe(ENXIO);
      expect(errnoOf(() => sys.lseek(fd, 10 * MIB, SEEK.HOLE))).toBe(ENXIO);
      sys.ftruncate(fd, 5 * MIB + 100);
      expect(sys.lseek(fd, 5 * MIB, SEEK.HOLE)).toBe(5 * MIB + 100);
      sys.close(fd);
    });

    it.skipIf(!can.linuxCalls)("fallocate allocates, keeps the size, punches and zeroes", () => {
      const fd = sys.open(`${volume().folder()}/file`, O.CREAT | O.RDWR);
      sys.fallocate(fd, 0, 0, MIB);
      expect(sys.fstat(fd).size).toBe(MIB);
      sys.fallocate(fd, FALLOC.KEEP_SIZE, MIB, MIB);
      expect(sys.fstat(fd).size).toBe(MIB);
      const content = Buffer.alloc(MIB, 0xab);
      sys.pwrite(fd, content, 0);
      const clear = (mode: number, from: number, length: number): void => {
        sys.fallocate(fd, mode, from, length);
        content.fill(0, from, from + length);
        expect(Buffer.from(sys.pread(fd, MIB, 0)).equals(content)).toBe(true);
      };
      for (const mode of [
        FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE,
        FALLOC.ZERO_RANGE,
        FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE,
      ]) {
        clear(mode, 100, 1);
        clear(mode, 1000, 5000);
        clear(mode, 60 * KIB, 80 * KIB);
        clear(mode, 200 * KIB + 1, 64 * KIB);
        clear(mode, MIB - 10, 10);
        sys.pwrite(fd, content.fill(0xcd), 0);
      }
      sys.fsync(fd);
      const before = sys.fstat(fd).blocks;
      clear(FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE, 128 * KIB, 512 * KIB);
      sys.fsync(fd);
      expect(sys.fstat(fd).blocks).toBe(before - (512 * KIB) / 512);
      sys.fallocate(fd, FALLOC.ZERO_RANGE, 2 * MIB, MIB);
      expect(sys.fstat(fd).size).toBe(3 * MIB);
      expect(errnoOf(() => sys.fallocate(fd, FALLOC.PUNCH_HOLE, 0, 10))).toBe("EOPNOTSUPP");
      expect(errnoOf(() => sys.fallocate(fd, FALLOC.COLLAPSE_RANGE, 0, 4096))).toBe("EOPNOTSUPP");
      expect(errnoOf(() => sys.fallocate(fd, 0, 0, 0))).toBe("EINVAL");
      expect(errnoOf(() => sys.fallocate(fd, 0, -1, 10))).toBe("EINVAL");
      expect(errnoOf(() => sys.fallocate(fd, 0, 0, 2 ** 45))).toBe("ENOSPC");
      sys.close(fd);
    });

    it.skipIf(!can.linuxCalls)("copy_file_range copies content and keeps holes", () => {
      const d = volume().folder();
      const from = sys.open(`${d}/from`, O.CREAT | O.RDWR);
      const to = sys.open(`${d}/to`, O.CREAT | O.RDWR);
      const random = new SeededRandom(5);
      const content = Buffer.alloc(20 * MIB);
      content.set(random.bytes(3 * MIB), MIB + 17);
      sys.pwrite(from, content.subarray(MIB, 5 * MIB), MIB);
      sys.ftruncate(from, content.length);
      for (let done = 0; done < content.length; ) {
        const copied = sys.copyFileRange(from, done, to, done, content.length - done);
        expect(copied).toBeGreaterThan(0);
        done += copied;
      }
      expect(sys.copyFileRange(from, content.length, to, 0, 100)).toBe(0);
      expect(readFileSync(`${d}/to`).equals(content)).toBe(true);
      sys.fsync(to);
      expect(sys.fstat(to).blocks).toBeLessThan((6 * MIB) / 512);
      // Odd offsets, and within one file.
      sys.copyFileRange(from, MIB + 17, to, 12345, 100_001);
      content.copy(content, 12345, MIB + 17, MIB + 17 + 100_001);
      expect(readFileSync(`${d}/to`).equals(content)).toBe(true);
      sys.copyFileRange(to, MIB, to, 7 * MIB + 5, MIB);
      content.copy(content, 7 * MIB + 5, MIB, 2 * MIB);
      expect(readFileSync(`${d}/to`).equals(content)).toBe(true);
      expect(errnoOf(() => sys.copyFileRange(to, 0, to, 50, 100))).toBe("EINVAL");
      sys.close(from);
      sys.close(to);
    });

    it("truncating down and up shows zeros, never what was there", async () => {
      const d = volume().folder();
      for (const [from, cut, size] of [
        [500, 100, 500],
        [500, 100, 5000],
        [5000, 4097, 9000],
        [200_000, 70_001, 300_000],
        [200_000, 65_536, 300_000],
        [3 * MIB, 10, 3 * MIB],
        [3 * MIB, 0, 3 * MIB],
      ] as const) {
        const file = `${d}/${from}-${cut}-${size}`;
        writeFileSync(file, Buffer.alloc(from, 0xff));
        sys.truncate(file, cut);
        sys.truncate(file, size);
        const expected = Buffer.concat([Buffer.alloc(cut, 0xff), Buffer.alloc(size - cut)]);
        expect(readFileSync(file).equals(expected), file).toBe(true);
        volume().dropCaches();
        expect(readFileSync(file).equals(expected), `${file} again`).toBe(true);
      }
      await volume().remount();
      for (const name of readdirSync(d)) {
        const [, cut = 0, size = 0] = name.split("-").map(Number);
        const expected = Buffer.concat([Buffer.alloc(cut, 0xff), Buffer.alloc(size - cut)]);
        expect(readFileSync(`${d}/${name}`).equals(expected), name).toBe(true);
      }
    });

    it("O_APPEND from two processes at once loses nothing", () => {
      const file = `${volume().folder()}/file`;
      const script = `
import os, sys
path = sys.argv[1]
if os.fork() == 0: mark = b"a"
else: mark = b"b"
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
for i in range(2000):
    line = mark * (i % 97) + b"%d\\n" % i
    assert os.write(fd, line) == len(line)
os.close(fd)
if mark == b"a": os._exit(0)
pid, status = os.wait()
sys.exit(status)`;
      python(script, file);
      const lines = readFileSync(file, "latin1").split("\n");
      expect(lines.pop()).toBe("");
      const expected = ["a", "b"].flatMap((mark) =>
        Array.from({ length: 2000 }, (_, i) => mark.repeat(i % 97) + String(i)),
      );
      expect(lines.sort()).toEqual(expected.sort());
    });

    it("O_EXCL refuses, O_TRUNC empties, O_APPEND goes to the end wherever one was", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "12345");
      expect(errnoOf(() => sys.open(file, O.CREAT | O.EXCL | O.RDWR))).toBe("EEXIST");
      const append = sys.open(file, O.RDWR | O.APPEND);
      sys.lseek(append, 1, SEEK.SET);
      sys.write(append, Buffer.from("67"));
      expect(readFileSync(file, "utf8")).toBe("1234567");
      sys.truncate(file, 2);
      sys.write(append, Buffer.from("x"));
      expect(readFileSync(file, "utf8")).toBe("12x");
      sys.close(append);
      sys.close(sys.open(file, O.WRONLY | O.TRUNC));
      expect(sys.lstat(file).size).toBe(0);
    });

    it("an unlinked file lives as long as it is open", () => {
      const d = volume().folder();
      const fd = sys.open(`${d}/file`, O.CREAT | O.RDWR);
      sys.pwrite(fd, Buffer.alloc(300_000, 1), 0);
      sys.unlink(`${d}/file`);
      if (can.cleanUnlink) {
        expect(readdirSync(d)).toEqual([]);
        expect(sys.fstat(fd).nlink).toBe(0);
      }
      volume().dropCaches();
      sys.pwrite(fd, Buffer.from("still"), 400_000);
      sys.ftruncate(fd, 400_003);
      volume().dropCaches();
      expect(Buffer.from(sys.pread(fd, 10, 400_000)).toString()).toBe("sti");
      expect(Buffer.from(sys.pread(fd, 1, 299_999))[0]).toBe(1);
      writeFileSync(`${d}/file`, "another");
      expect(sys.fstat(fd).size).toBe(400_003);
      sys.close(fd);
      expect(readFileSync(`${d}/file`, "utf8")).toBe("another");
    });

    it.skipIf(!can.cleanUnlink)("a file replaced by rename lives as long as it is open", () => {
      const d = volume().folder();
      writeFileSync(`${d}/old`, "old");
      writeFileSync(`${d}/new`, "new");
      const fd = sys.open(`${d}/old`, O.RDONLY);
      sys.rename(`${d}/new`, `${d}/old`);
      volume().dropCaches();
      expect(Buffer.from(sys.pread(fd, 10, 0)).toString()).toBe("old");
      expect(sys.fstat(fd).nlink).toBe(0);
      sys.close(fd);
    });

    it.skipIf(!can.linuxCalls)("O_TMPFILE has no name until it is linked", async () => {
      const d = volume().folder();
      const fd = sys.open(d, O.TMPFILE | O.RDWR, 0o640);
      sys.pwrite(fd, Buffer.from("temporary"), 0);
      expect(sys.fstat(fd)).toMatchObject({ nlink: 0, size: 9, mode: 0o640 });
      expect(readdirSync(d)).toEqual([]);
      sys.linkDescriptor(fd, `${d}/named`);
      expect(sys.fstat(fd).nlink).toBe(1);
      sys.close(fd);
      const exclusive = sys.open(d, O.TMPFILE | O.RDWR | O.EXCL, 0o640);
      expect(errnoOf(() => sys.linkDescriptor(exclusive, `${d}/never`))).toBe("ENOENT");
      sys.close(exclusive);
      const unlinked = sys.open(`${d}/gone`, O.CREAT | O.RDWR);
      sys.unlink(`${d}/gone`);
      expect(errnoOf(() => sys.linkDescriptor(unlinked, `${d}/back`))).toBe("ENOENT");
      sys.close(unlinked);
      await volume().remount();
      expect(readFileSync(`${d}/named`, "utf8")).toBe("temporary");
      expect(readdirSync(d)).toEqual(["named"]);
    });

    it("O_DIRECT and the page cache see each other", () => {
      const file = `${volume().folder()}/file`;
      const cached = sys.open(file, O.CREAT | O.RDWR);
      const direct = sys.open(file, O.RDWR | O.DIRECT);
      const block = Buffer.alloc(8192);
      sys.pwrite(cached, Buffer.alloc(100_000, 1), 0);
      expect(sys.pread(direct, 8192, 4096, block).every((byte) => byte === 1)).toBe(true);
      block.fill(2);
      sys.pwrite(direct, block, 8192);
      expect(sys.pread(cached, 8192, 8192).every((byte) => byte === 2)).toBe(true);
      sys.pwrite(direct, block, 200 * KIB);
      expect(sys.fstat(cached).size).toBe(208 * KIB);
      expect(sys.pread(cached, 100, 150_000).every((byte) => byte === 0)).toBe(true);
      sys.close(direct);
      sys.close(cached);
    });

    it("O_DIRECT with O_APPEND goes behind what only the page cache has", () => {
      const file = `${volume().folder()}/file`;
      const cached = sys.open(file, O.CREAT | O.RDWR);
      const direct = sys.open(file, O.WRONLY | O.DIRECT | O.APPEND);
      sys.pwrite(cached, Buffer.alloc(8192, 1), 0);
      sys.write(direct, Buffer.alloc(4096, 2));
      sys.close(direct);
      sys.close(cached);
      volume().dropCaches();
      expect(readFileSync(file).equals(Buffer.concat([Buffer.alloc(8192, 1), Buffer.alloc(4096, 2)]))).toBe(true);
    });

    it("shared mappings write to the file, also past holes and after a truncation", () => {
      const d = volume().folder();
      const script = `
import mmap, os, sys
path = sys.argv[1]
fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
m[5000:5010] = b"0123456789"
m[(1 << 20) - 3:] = b"end"
assert os.pread(fd, 10, 5000) == b"0123456789"
os.pwrite(fd, b"file", 700000)
assert m[700000:700004] == b"file"
m.flush()
os.ftruncate(fd, 5005)
os.ftruncate(fd, 1 << 20)
assert m[5000:5010] == b"01234" + bytes(5), m[5000:5010]
m[9000:9003] = b"new"
m.close()
os.close(fd)`;
      python(script, `${d}/file`);
      const expected = Buffer.alloc(MIB);
      expected.write("01234", 5000);
      expected.write("new", 9000);
      expect(readFileSync(`${d}/file`).equals(expected)).toBe(true);
      volume().dropCaches();
      expect(readFileSync(`${d}/file`).equals(expected)).toBe(true);
    });

    it("a byte at the largest offset, and no further", () => {
      const file = `${volume().folder()}/file`;
      const fd = sys.open(file, O.CREAT | O.RDWR);
      const last = can.handles ? FILE_SIZE_MAX - 1 : 2 ** 52;
      sys.pwrite(fd, Buffer.from("x"), last);
      sys.fsync(fd);
      volume().dropCaches();
      expect(sys.fstat(fd).size).toBe(last + 1);
      expect(Buffer.from(sys.pread(fd, 10, last - 5)).toString()).toBe("\0\0\0\0\0x");
      if (can.linuxCalls) {
        const found = sys.lseek(fd, 0, SEEK.DATA);
        expect(found).toBeGreaterThan(last - 64 * KIB);
      }
      if (can.handles) {
        expect(errnoOf(() => sys.ftruncate(fd, 2 ** 53))).toBe("EFBIG");
        const direct = sys.open(file, O.RDWR | O.DIRECT);
        expect(errnoOf(() => sys.pwrite(direct, Buffer.alloc(4096), 2 ** 53))).toBe("EFBIG");
        sys.close(direct);
      }
      sys.ftruncate(fd, 0);
      sys.close(fd);
    });

    it("random reads, writes and truncations agree with a copy in memory", async () => {
      const d = volume().folder();
      const random = new SeededRandom(11);
      const model = Buffer.alloc(2 * MIB);
      let size = 0;
      let fd = sys.open(`${d}/file`, O.CREAT | O.RDWR);
      for (let step = 0; step < 1200; step++) {
        const choice = random.below(100);
        const at = random.below(model.length - 200_000);
        const length = 1 + random.below(random.below(10) === 0 ? 200_000 : 5000);
        if (choice < 45) {
          const bytes = Buffer.from(random.bytes(length));
          sys.pwrite(fd, bytes, at);
          bytes.copy(model, at);
          size = Math.max(size, at + length);
        } else if (choice < 85) {
          const expected = model.subarray(at, Math.max(at, Math.min(size, at + length)));
          expect(Buffer.from(sys.pread(fd, length, at)).equals(expected), `step ${step}`).toBe(true);
        } else if (choice < 92) {
          model.fill(0, Math.min(at, size), size);
          size = at;
          sys.ftruncate(fd, size);
        } else if (choice < 97 && can.linuxCalls) {
          sys.fallocate(fd, FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE, at, length);
          model.fill(0, at, at + length);
        } else if (choice === 98) {
          sys.fsync(fd);
          volume().dropCaches();
        } else if (choice === 99 && step % 5 === 0) {
          sys.close(fd);
          await volume().remount();
          fd = sys.open(`${d}/file`, O.RDWR);
        }
        expect(sys.fstat(fd).size).toBe(size);
      }
      sys.close(fd);
      expect(readFileSync(`${d}/file`).equals(model.subarray(0, size))).toBe(true);
    });
  });
}
