// End-to-end: what concerns the whole volume. Large directories, statfs, file handles, and no room left.

import { readFileSync, readdirSync, statfsSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";
import { manyNames } from "./data-workloads.ts";
import { MountedVolume } from "./posix-mounted.ts";
import { O, S, errnoOf, sys } from "./posix-system.ts";

const MIB = 2 ** 20;
/** Names in one folder; the acceptance run has 100,000. */
const MANY = { kernel: 12_000, "fuse-native": 5_000 } as const;

export function directoriesSuite(volume: () => MountedVolume): void {
  describe("a large directory", () => {
    it("is listed whole, each name once, while others come and go", () => {
      manyNames(volume().folder(), MANY[volume().transport]);
    });

    it("lookups of one name among many are found after the caches are dropped", () => {
      const d = volume().folder();
      for (let i = 0; i < 2000; i++) sys.mknod(`${d}/name${i}`, S.REGULAR | 0o644);
      volume().dropCaches();
      for (let i = 0; i < 2000; i += 37) expect(sys.lstat(`${d}/name${i}`).size).toBe(0);
      expect(errnoOf(() => sys.lstat(`${d}/name2000`))).toBe("ENOENT");
    });
  });
}

export function statisticsSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("statfs", () => {
    it("tells the room of the copy that has least, and follows what is written", async () => {
      const file = `${volume().folder()}/file`;
      const report = (await volume().status()) as VolumeReport;
      const before = statfsSync(volume().directory);
      const smallest = Math.min(...report.copies.map((copy) => copy.sizeBytes));
      expect(before.blocks * before.bsize).toBeLessThanOrEqual(smallest);
      expect(before.blocks * before.bsize).toBeGreaterThan(smallest * 0.9);
      expect(before.bavail).toBeLessThanOrEqual(before.bfree);
      writeFileSync(file, Buffer.alloc(40 * MIB, 1));
      const fd = sys.open(file, O.RDONLY);
      sys.fsync(fd);
      sys.close(fd);
      const after = statfsSync(volume().directory);
      const used = (before.bfree - after.bfree) * before.bsize;
      expect(used).toBeGreaterThan(39 * MIB);
      expect(used).toBeLessThan(44 * MIB);
      sys.unlink(file);
      expect((await volume().place.run("h2ts", "sync", volume().directory)).code).toBe(0);
      expect((await volume().place.run("h2ts", "sync", volume().directory)).code).toBe(0);
      const freed = (statfsSync(volume().directory).bfree - after.bfree) * before.bsize;
      expect(freed).toBeGreaterThan(38 * MIB);
    });
  });

  describe.skipIf(!can.handles)("file handles", () => {
    it("open files and directories after the kernel forgot them, and after a remount", async () => {
      const d = volume().folder();
      sys.mkdir(`${d}/deep`);
      writeFileSync(`${d}/deep/file`, "by handle");
      const handles = { file: sys.handleOf(`${d}/deep/file`), deep: sys.handleOf(`${d}/deep`) };
      const { ino } = sys.lstat(`${d}/deep/file`);
      const check = (): void => {
        const mountFd = sys.open(volume().directory, O.RDONLY | O.DIRECTORY);
        const fd = sys.openHandle(mountFd, handles.file, O.RDONLY);
        expect(sys.fstat(fd).ino).toBe(ino);
        expect(Buffer.from(sys.pread(fd, 100, 0)).toString()).toBe("by handle");
        sys.close(fd);
        const directory = sys.openHandle(mountFd, handles.deep, O.RDONLY | O.DIRECTORY);
        expect(readdirSync(`/proc/self/fd/${directory}`)).toEqual(["file"]);
        sys.close(directory);
        sys.close(mountFd);
      };
      check();
      volume().dropCaches();
      check();
      sys.rename(`${d}/deep/file`, `${d}/moved`);
      sys.rename(`${d}/moved`, `${d}/deep/file`);
      await volume().remount();
      check();
      expect(sys.handleOf(`${d}/deep/file`).equals(handles.file)).toBe(true);
    });

    it("of files that are gone are stale", async () => {
      const d = volume().folder();
      writeFileSync(`${d}/file`, "x");
      const handle = sys.handleOf(`${d}/file`);
      sys.unlink(`${d}/file`);
      writeFileSync(`${d}/file`, "another");
      const stale = (): string => {
        const mountFd = sys.open(volume().directory, O.RDONLY | O.DIRECTORY);
        const code = errnoOf(() => sys.openHandle(mountFd, handle, O.RDONLY));
        sys.close(mountFd);
        return code;
      };
      expect(stale()).toBe("ESTALE");
      await volume().remount();
      expect(stale()).toBe("ESTALE");
    });
  });
}

export function spaceSuite(transport: MountedVolume["transport"]): void {
  describe("a volume of 40 MiB", () => {
    it("fills up with ENOSPC, is deleted from, and fills up again", async () => {
      const small = await MountedVolume.create(transport, { firstMib: 40, secondMib: 64 });
      try {
        const d = small.folder();
        writeFileSync(`${d}/kept`, "kept");
        const rounds = [fill(small, `${d}/first`), 0];
        const free = statfsSync(d).bavail * statfsSync(d).bsize;
        expect(free).toBeLessThan(4 * MIB);
        // What gives room back must go on.
        sys.truncate(`${d}/first`, MIB);
        sys.unlink(`${d}/first`);
        // The first sync after a lost write tells of it.
        expect([0, 32]).toContain((await small.place.run("h2ts", "sync", small.directory)).code);
        const sync = await small.place.run("h2ts", "sync", small.directory);
        expect(sync, sync.err).toMatchObject({ code: 0 });
        rounds[1] = fill(small, `${d}/second`);
        expect(rounds[1]).toBeGreaterThan((rounds[0] ?? 0) * 0.9);
        sys.unlink(`${d}/second`);
        // The slow transport says nothing else about the allocator.
        if (transport === "kernel") fillWithFiles(`${d}/many`);
        expect(fill(small, `${d}/third`)).toBeGreaterThan((rounds[0] ?? 0) * 0.9);
        sys.unlink(`${d}/third`);
        expect(readFileSync(`${d}/kept`, "utf8")).toBe("kept");
        await small.unmount();
        await small.check();
      } finally {
        small.destroy();
      }
    });
  });
}

/** Writes until there is no room; returns how much is durable. */
function fill(small: MountedVolume, path: string): number {
  const fd = sys.open(path, O.CREAT | O.EXCL | O.WRONLY);
  const piece = Buffer.alloc(256 * 1024, 0x5a);
  let durable = 0;
  let code = "none";
  while (code === "none" && durable < 100 * MIB) {
    const at = durable;
    let written = 0;
    code = errnoOf(() => {
      // Where it comes in parts, the last one may find no room.
      written = sys.pwrite(fd, piece, at);
      sys.fsync(fd);
    });
    if (code === "none") durable += written;
  }
  expect(code).toBe("ENOSPC");
  // Closing may tell once more what fsync told.
  expect(["none", "ENOSPC"]).toContain(errnoOf(() => sys.close(fd)));
  expect(durable).toBeGreaterThan(30 * MIB);
  small.dropCaches();
  expect(readFileSync(path).subarray(0, durable).equals(Buffer.alloc(durable, 0x5a))).toBe(true);
  return durable;
}

/** Makes small files until there is no room, and removes them all. */
function fillWithFiles(folder: string): void {
  sys.mkdir(folder);
  let made = 0;
  const code = errnoOf(() => {
    for (; ; made++) {
      const fd = sys.open(`${folder}/${made}`, O.CREAT | O.EXCL | O.WRONLY);
      try {
        sys.write(fd, Buffer.alloc(600, 1));
        if (made % 50 === 0) sys.fsync(fd);
      } finally {
        sys.close(fd);
      }
    }
  });
  expect(code).toBe("ENOSPC");
  expect(made).toBeGreaterThan(5000);
  for (const name of readdirSync(folder)) sys.unlink(`${folder}/${name}`);
  sys.rmdir(folder);
}
