// Both transports over a filesystem in memory: what every mount must do, and what only the kernel transport can.

import { constants } from "node:fs";
import * as fsp from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SystemClock } from "../../src/base/clock.ts";
import { kernelTransport } from "../../src/fuse/kernel/transport.ts";
import { nativeTransport } from "../../src/fuse/native/transport.ts";
import { MemoryFileSystem } from "./memory-filesystem.ts";
import { mayMount, run, withMount } from "./null-mounted.ts";

const memory = (): MemoryFileSystem => new MemoryFileSystem(new SystemClock());

describe.runIf(mayMount()).each([kernelTransport, nativeTransport])("transport $name", (transport) => {
  it("keeps files, links and folders", async () => {
    const fs = memory();
    await withMount(transport, fs, async (directory) => {
      const out = await run(
        `mkdir -p a/b; echo one > a/b/f; ln a/b/f g; ln -s a/b/f s; mkfifo p; mknod c c 1 3
         echo two >> g; cat s; stat -c '%h' g; mv a/b/f a/h; cat a/h; rmdir a/b; readlink s; stat -c '%F' p c; rm -r a g s p c; ls`,
        directory,
      );
      const expected = "one\ntwo\n2\none\ntwo\na/b/f\nfifo\ncharacter special file\n";
      expect(out).toBe(expected);
    });
    // Everything was deleted and every lookup came back, or the mount ended.
    expect(fs.nodeCount).toBeLessThanOrEqual(2);
  });

  it("carries data of all sizes both ways", async () => {
    await withMount(transport, memory(), async (directory) => {
      for (const length of [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 5_000_001]) {
        const file = join(directory, `f${length}`);
        const data = Buffer.alloc(length, `pattern ${length} `);
        await fsp.writeFile(file, data);
        await run("echo 1 > /proc/sys/vm/drop_caches || true", "/");
        expect((await fsp.readFile(file)).equals(data)).toBe(true);
        expect((await fsp.stat(file)).size).toBe(length);
        await fsp.truncate(file, length * 2);
        expect((await fsp.stat(file)).size).toBe(length * 2);
      }
    });
  });

  it("says no with the right errno", async () => {
    await withMount(transport, memory(), async (directory) => {
      const path = (name: string): string => join(directory, name);
      await fsp.mkdir(path("d"));
      await fsp.writeFile(path("d/f"), "x");
      await expect(fsp.readFile(path("absent"))).rejects.toMatchObject({ code: "ENOENT" });
      await expect(fsp.mkdir(path("d"))).rejects.toMatchObject({ code: "EEXIST" });
      await expect(fsp.rmdir(path("d"))).rejects.toMatchObject({ code: "ENOTEMPTY" });
      await expect(fsp.rmdir(path("d/f"))).rejects.toMatchObject({ code: "ENOTDIR" });
      await expect(fsp.unlink(path("d"))).rejects.toMatchObject({ code: "EISDIR" });
      await expect(fsp.open(path("d/f"), "wx")).rejects.toMatchObject({ code: "EEXIST" });
      await expect(fsp.writeFile(path("n".repeat(256)), "")).rejects.toMatchObject({ code: "ENAMETOOLONG" });
    });
  });

  it("lists a large folder once, and reports space and attributes", async () => {
    await withMount(transport, memory(), async (directory) => {
      await run("for i in $(seq 1 1500); do : > f$i; done; setfattr -n user.k -v v f1 2>/dev/null || true", directory);
      const names = await fsp.readdir(directory);
      expect(new Set(names).size).toBe(1500);
      expect(names.length).toBe(1500);
      expect((await fsp.statfs(directory)).bsize).toBe(4096);
      await fsp.chmod(join(directory, "f1"), 0o640);
      await fsp.chown(join(directory, "f1"), 12, 34);
      await fsp.utimes(join(directory, "f1"), 1000.5, 1000.5);
      const stat = await fsp.stat(join(directory, "f1"));
      expect([stat.mode & 0o7777, stat.uid, stat.gid, stat.mtimeMs]).toEqual([0o640, 12, 34, 1_000_500]);
    });
  });

  it("shows its source and refuses unknown options", async () => {
    const source = "a.img,b c.img";
    await withMount(
      transport,
      memory(),
      async (directory) => {
        expect(await run(`findmnt -n -o SOURCE,FSTYPE ${directory} || grep ${directory} /proc/mounts`, "/")).toContain(
          "fuse.h2ts",
        );
        await expect(fsp.writeFile(join(directory, "f"), "")).rejects.toMatchObject({ code: "EROFS" });
      },
      { source, options: ["ro", "noatime"] },
    );
    const bogus = { source, directory: "/tmp", options: ["bogus"] };
    await expect(transport.mount(bogus, memory(), { onFault: () => undefined })).rejects.toThrow("bogus");
  });
});

describe.runIf(mayMount())("the kernel transport alone", () => {
  it("opens without a request, and so loses nothing: O_TRUNC, O_APPEND, O_EXCL, mode 0", async () => {
    await withMount(kernelTransport, memory(), async (directory) => {
      const file = join(directory, "f");
      const { O_RDWR, O_CREAT, O_EXCL } = constants;
      const created = await fsp.open(file, O_RDWR | O_CREAT | O_EXCL, 0);
      await created.write("hello world");
      await created.close();
      await fsp.chmod(file, 0o600);
      const truncated = await fsp.open(file, "r+");
      await truncated.close();
      await (await fsp.open(file, "w")).close();
      expect((await fsp.stat(file)).size).toBe(0);
      const [one, two] = await Promise.all([fsp.open(file, "a"), fsp.open(file, "a")]);
      for (const text of ["1", "2", "3", "4"]) await (Number(text) % 2 ? one : two).write(text);
      await Promise.all([one.close(), two.close()]);
      expect(await fsp.readFile(file, "utf8")).toBe("1234");
    });
  });

  it("keeps an unlinked file as long as it is open, and no longer", async () => {
    const fs = memory();
    await withMount(kernelTransport, fs, async (directory) => {
      const before = fs.nodeCount;
      const file = await fsp.open(join(directory, "f"), "w+");
      await file.write("still here");
      await fsp.unlink(join(directory, "f"));
      expect(await fsp.readdir(directory)).toEqual([]);
      expect((await file.read(Buffer.alloc(20), 0, 20, 0)).bytesRead).toBe(10);
      expect((await file.stat()).nlink).toBe(0);
      await file.close();
      await expect.poll(() => fs.nodeCount).toBe(before);
    });
  });

  it("carries nanoseconds, births, any names and holes", async () => {
    await withMount(kernelTransport, memory(), async (directory) => {
      const name = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x20])]);
      await fsp.writeFile(name, "x");
      expect(await fsp.readdir(directory, { encoding: "buffer" })).toEqual([name.subarray(directory.length + 1)]);
      await run("touch -d '2001-02-03 04:05:06.123456789' t; touch -a -d '1969-01-01 00:00:00.000000001' t", directory);
      const stat = await fsp.stat(join(directory, "t"), { bigint: true });
      expect(stat.mtimeNs % 1_000_000_000n).toBe(123_456_789n);
      expect(stat.atimeNs < 0n).toBe(true);
      expect(stat.birthtimeNs > 0n).toBe(true);
      await run(
        "truncate -s 1M h; printf x | dd of=h bs=1 seek=500000 conv=notrunc 2>/dev/null; fallocate -l 64K e",
        directory,
      );
      expect((await fsp.stat(join(directory, "h"))).blocks).toBe(8);
      expect((await fsp.stat(join(directory, "e"))).size).toBe(65536);
      await run("cp --sparse=auto --reflink=never h h2; cmp h h2; fallocate -p -o 499712 -l 4096 h", directory);
      expect((await fsp.stat(join(directory, "h"))).blocks).toBe(0);
    });
  });

  it("tells who asks, and clears setuid when another writes", async () => {
    await withMount(kernelTransport, memory(), async (directory) => {
      await run("chmod 1777 .; echo x > s; chmod 6777 s", directory);
      await run("setpriv --reuid 1234 --regid 2345 --clear-groups sh -c 'umask 027; : > mine; echo y >> s'", directory);
      const mine = await fsp.stat(join(directory, "mine"));
      expect([mine.uid, mine.gid, mine.mode & 0o7777]).toEqual([1234, 2345, 0o640]);
      expect((await fsp.stat(join(directory, "s"))).mode & 0o7777).toBe(0o777);
      await expect(run("setpriv --reuid 99 --regid 99 --clear-groups rm mine", directory)).rejects.toThrow();
    });
  });
});
