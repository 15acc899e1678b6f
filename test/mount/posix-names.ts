// End-to-end: names and what they mean. Creation of every kind, links, removal, rename, and the errno of each refusal.

import { readdirSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { MountedVolume } from "./posix-mounted.ts";
import { O, RENAME, S, errnoOf, sys } from "./posix-system.ts";

const LONGEST = 255;

export function namesSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("names", () => {
    it("hard links share everything and count", () => {
      const d = volume().folder();
      writeFileSync(`${d}/a`, "content");
      const before = sys.lstat(`${d}/a`);
      sys.mkdir(`${d}/sub`);
      sys.link(`${d}/a`, `${d}/sub/b`);
      const linked = sys.lstat(`${d}/sub/b`);
      expect(linked).toMatchObject({ ino: before.ino, nlink: 2, mtime: before.mtime });
      sys.chmod(`${d}/sub/b`, 0o600);
      expect(sys.lstat(`${d}/a`)).toMatchObject({ mode: 0o600, nlink: 2 });
      sys.unlink(`${d}/a`);
      expect(sys.lstat(`${d}/sub/b`)).toMatchObject({ ino: before.ino, nlink: 1, size: 7 });
      expect(errnoOf(() => sys.link(`${d}/sub`, `${d}/c`))).toBe("EPERM");
      expect(errnoOf(() => sys.link(`${d}/sub/b`, `${d}/sub/b`))).toBe("EEXIST");
      expect(errnoOf(() => sys.link(`${d}/none`, `${d}/c`))).toBe("ENOENT");
    });

    it("symbolic links keep any target up to 4095 bytes and follow ELOOP", () => {
      const d = volume().folder();
      const target = `/${"x".repeat(4000)}`;
      sys.symlink(target, `${d}/long`);
      expect(sys.readlink(`${d}/long`).toString()).toBe(target);
      expect(sys.lstat(`${d}/long`)).toMatchObject({ size: target.length, nlink: 1, mode: 0o777 });
      sys.symlink("loop", `${d}/loop`);
      expect(errnoOf(() => sys.open(`${d}/loop`, O.RDONLY))).toBe("ELOOP");
      expect(errnoOf(() => sys.open(`${d}/long`, O.RDONLY | O.NOFOLLOW))).toBe("ELOOP");
      expect(errnoOf(() => sys.symlink("x".repeat(4096), `${d}/toolong`))).toBe("ENAMETOOLONG");
      expect(errnoOf(() => sys.symlink("x", `${d}/loop`))).toBe("EEXIST");
      expect(errnoOf(() => sys.readlink(d))).toBe("EINVAL");
    });

    it("fifos, sockets and device nodes", () => {
      const d = volume().folder();
      const kinds = { fifo: S.FIFO, socket: S.SOCKET, char: S.CHAR, block: S.BLOCK, file: S.REGULAR };
      for (const [name, type] of Object.entries(kinds)) {
        sys.mknod(`${d}/${name}`, type | 0o640, 12, 345);
        const device = type === S.CHAR || type === S.BLOCK;
        expect(sys.lstat(`${d}/${name}`), name).toMatchObject({
          type,
          mode: 0o640,
          rdevMajor: device ? 12 : 0,
          rdevMinor: device ? 345 : 0,
        });
      }
      // A fifo works as one, the device node is refused because of nodev.
      const fd = sys.open(`${d}/fifo`, O.RDWR);
      sys.write(fd, Buffer.from("through"));
      const bytes = Buffer.alloc(7);
      sys.read(fd, bytes);
      expect(bytes.toString()).toBe("through");
      sys.close(fd);
      expect(errnoOf(() => sys.open(`${d}/char`, O.RDONLY))).toBe("EACCES");
      const types = new Map(readdirSync(d, { withFileTypes: true }).map((entry) => [entry.name, entry]));
      expect(types.get("fifo")?.isFIFO()).toBe(true);
      expect(types.get("socket")?.isSocket()).toBe(true);
      expect(types.get("char")?.isCharacterDevice()).toBe(true);
      expect(types.get("block")?.isBlockDevice()).toBe(true);
    });

    it.skipIf(!can.anyNames)("names of any bytes but / and NUL, up to 255", () => {
      const d = Buffer.from(`${volume().folder()}/`);
      const at = (name: Uint8Array): Uint8Array => Buffer.concat([d, name]);
      const names: Buffer[] = [];
      for (let first = 1; first < 256; first++) {
        if (first === 0x2f || first === 0x2e) continue;
        names.push(Buffer.from([first]), Buffer.from([0xff, first, 0x80]));
      }
      names.push(Buffer.alloc(LONGEST, 0xfe), Buffer.alloc(LONGEST, 0xc3), Buffer.from("..."));
      for (const name of names) sys.close(sys.open(at(name), O.CREAT | O.EXCL | O.WRONLY));
      volume().dropCaches();
      const sorted = (list: Buffer[]): string[] => list.map((name) => name.toString("hex")).sort();
      expect(sorted(readdirSync(d.subarray(0, -1), { encoding: "buffer" }) as Buffer[])).toEqual(sorted(names));
      for (const name of names) sys.unlink(at(name));
      expect(readdirSync(d.subarray(0, -1))).toEqual([]);
    });

    it("255 bytes are a name, 256 are ENAMETOOLONG everywhere", () => {
      const d = volume().folder();
      const long = `${d}/${"n".repeat(LONGEST)}`;
      const over = `${long}n`;
      writeFileSync(long, "x");
      sys.rename(long, `${d}/${"m".repeat(LONGEST)}`);
      sys.link(`${d}/${"m".repeat(LONGEST)}`, long);
      expect(readdirSync(d)).toHaveLength(2);
      for (const refused of [
        () => sys.open(over, O.CREAT | O.WRONLY),
        () => sys.open(over, O.RDONLY),
        () => sys.mkdir(over),
        () => sys.rmdir(over),
        () => sys.unlink(over),
        () => sys.mknod(over, S.FIFO | 0o600),
        () => sys.symlink("x", over),
        () => sys.link(long, over),
        () => sys.rename(long, over),
        () => sys.rename(over, long),
        () => sys.lstat(over),
        () => sys.chmod(over, 0o600),
        () => sys.truncate(over, 0),
      ]) {
        expect(errnoOf(refused), String(refused)).toBe("ENAMETOOLONG");
      }
    });

    it("the right errno for what can't be", () => {
      const d = volume().folder();
      writeFileSync(`${d}/file`, "x");
      sys.mkdir(`${d}/dir`);
      sys.mkdir(`${d}/full`);
      writeFileSync(`${d}/full/x`, "x");
      const cases: [string, () => unknown][] = [
        ["ENOENT", () => sys.open(`${d}/none`, O.RDONLY)],
        ["ENOENT", () => sys.unlink(`${d}/none`)],
        ["ENOENT", () => sys.rmdir(`${d}/none`)],
        ["ENOENT", () => sys.mkdir(`${d}/none/x`)],
        ["ENOENT", () => sys.rename(`${d}/none`, `${d}/x`)],
        ["ENOENT", () => sys.rename(`${d}/file`, `${d}/none/x`)],
        ["ENOTDIR", () => sys.open(`${d}/file/x`, O.RDONLY)],
        ["ENOTDIR", () => sys.mkdir(`${d}/file/x`)],
        ["ENOTDIR", () => sys.rmdir(`${d}/file`)],
        ["ENOTDIR", () => sys.open(`${d}/file`, O.RDONLY | O.DIRECTORY)],
        ["ENOTDIR", () => sys.rename(`${d}/dir`, `${d}/file`)],
        ["EISDIR", () => sys.rename(`${d}/file`, `${d}/dir`)],
        ["EISDIR", () => sys.open(`${d}/dir`, O.WRONLY)],
        ["EISDIR", () => sys.unlink(`${d}/dir`)],
        ["EISDIR", () => sys.truncate(`${d}/dir`, 0)],
        ["EEXIST", () => sys.mkdir(`${d}/file`)],
        ["EEXIST", () => sys.mkdir(`${d}/dir`)],
        ["EEXIST", () => sys.open(`${d}/file`, O.CREAT | O.EXCL | O.WRONLY)],
        ["EEXIST", () => sys.mknod(`${d}/file`, S.FIFO | 0o600)],
        ["ENOTEMPTY", () => sys.rmdir(`${d}/full`)],
        ["ENOTEMPTY", () => sys.rename(`${d}/dir`, `${d}/full`)],
        ["EINVAL", () => sys.rename(`${d}/dir`, `${d}/dir/below`)],
        ["EINVAL", () => sys.rmdir(`${d}/dir/.`)],
        ["ENOTEMPTY", () => sys.rmdir(`${d}/dir/..`)],
        ["EINVAL", () => sys.truncate(`${d}/file`, -1)],
        ["EBUSY", () => sys.rmdir(volume().directory)],
      ];
      for (const [code, body] of cases) expect(errnoOf(body), String(body)).toBe(code);
      expect(readdirSync(d).sort()).toEqual(["dir", "file", "full"]);
    });

    it("rename replaces files and empty directories", () => {
      const d = volume().folder();
      writeFileSync(`${d}/a`, "a");
      writeFileSync(`${d}/b`, "b");
      const { ino } = sys.lstat(`${d}/a`);
      sys.rename(`${d}/a`, `${d}/b`);
      expect(sys.lstat(`${d}/b`)).toMatchObject({ ino, size: 1, nlink: 1 });
      expect(errnoOf(() => sys.lstat(`${d}/a`))).toBe("ENOENT");

      sys.mkdir(`${d}/from`);
      writeFileSync(`${d}/from/inside`, "x");
      sys.mkdir(`${d}/over`);
      sys.mkdir(`${d}/other`);
      const links = sys.lstat(d).nlink;
      sys.rename(`${d}/from`, `${d}/over`);
      expect(sys.lstat(d).nlink).toBe(links - 1);
      expect(readdirSync(`${d}/over`)).toEqual(["inside"]);
      sys.rename(`${d}/over`, `${d}/other/moved`);
      expect(sys.lstat(d).nlink).toBe(links - 2);
      expect(sys.lstat(`${d}/other`).nlink).toBe(3);
      expect(readdirSync(`${d}/other/moved/..`)).toEqual(["moved"]);
      expect(sys.lstat(`${d}/other/moved/..`).ino).toBe(sys.lstat(`${d}/other`).ino);
      expect(errnoOf(() => sys.rename(`${d}/other`, `${d}/other/moved/deeper`))).toBe("EINVAL");
      expect(errnoOf(() => sys.rename(`${d}/other/moved`, `${d}/other`))).toBe("ENOTEMPTY");
      // Two names of one file: nothing happens, both stay.
      sys.link(`${d}/b`, `${d}/c`);
      sys.rename(`${d}/b`, `${d}/c`);
      expect(sys.lstat(`${d}/b`).nlink).toBe(2);
    });

    it.skipIf(!can.linuxCalls)("rename with NOREPLACE and EXCHANGE", () => {
      const d = volume().folder();
      writeFileSync(`${d}/a`, "a");
      writeFileSync(`${d}/b`, "bb");
      expect(errnoOf(() => sys.rename(`${d}/a`, `${d}/b`, RENAME.NOREPLACE))).toBe("EEXIST");
      sys.rename(`${d}/a`, `${d}/new`, RENAME.NOREPLACE);
      sys.mkdir(`${d}/x`);
      sys.mkdir(`${d}/x/sub`);
      sys.mkdir(`${d}/y`);
      const [moved, directory, links] = [
        sys.lstat(`${d}/b`).ino,
        sys.lstat(`${d}/x/sub`).ino,
        sys.lstat(`${d}/y`).nlink,
      ];
      sys.rename(`${d}/x/sub`, `${d}/y/b`, RENAME.NOREPLACE);
      expect(sys.lstat(`${d}/y`).nlink).toBe(links + 1);
      sys.rename(`${d}/b`, `${d}/y/b`, RENAME.EXCHANGE);
      expect([sys.lstat(`${d}/b`).ino, sys.lstat(`${d}/y/b`).ino]).toEqual([directory, moved]);
      expect(sys.lstat(`${d}/y`).nlink).toBe(links);
      expect(sys.lstat(`${d}/b/..`).ino).toBe(sys.lstat(d).ino);
      expect(errnoOf(() => sys.rename(`${d}/b`, `${d}/none`, RENAME.EXCHANGE))).toBe("ENOENT");
      expect(errnoOf(() => sys.rename(`${d}/b`, `${d}/y/b`, RENAME.EXCHANGE | RENAME.NOREPLACE))).toBe("EINVAL");
      expect(errnoOf(() => sys.rename(`${d}/y`, `${d}/y/b`, RENAME.EXCHANGE))).toBe("EINVAL");
    });

    it.skipIf(!can.cleanUnlink)(
      "a directory removed while it is open or current is empty and takes nothing new",
      () => {
        const d = volume().folder();
        sys.mkdir(`${d}/gone`);
        const fd = sys.open(`${d}/gone`, O.RDONLY | O.DIRECTORY);
        sys.rmdir(`${d}/gone`);
        expect(sys.fstat(fd).nlink).toBe(0);
        expect(readdirSync(`/proc/self/fd/${fd}`)).toEqual([]);
        expect(errnoOf(() => sys.open(`/proc/self/fd/${fd}/x`, O.CREAT | O.WRONLY))).toBe("ENOENT");
        expect(errnoOf(() => sys.mkdir(`/proc/self/fd/${fd}/x`))).toBe("ENOENT");
        sys.close(fd);
      },
    );
  });
}
