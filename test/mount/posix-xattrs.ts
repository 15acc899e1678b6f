// End-to-end: extended attributes of every namespace, and access control lists as setfacl, getfacl and the kernel use them.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { MountedVolume } from "./posix-mounted.ts";
import { NOBODY, O, S, asUser, errnoOf, sys, withUmask } from "./posix-system.ts";

const CREATE = 1;
const REPLACE = 2;
const ALICE = 4001;
const BOB = 4002;

function setfacl(...words: string[]): void {
  const run = spawnSync("setfacl", words, { encoding: "utf8", timeout: 30_000 });
  expect(run, `setfacl ${words.join(" ")}: ${run.stderr}`).toMatchObject({ status: 0 });
}

/** Entries of the access ACL, or of the default one, without comments. */
function getfacl(path: string, which: "-a" | "-d" = "-a"): string[] {
  const run = spawnSync("getfacl", [which, "-npcE", path], { encoding: "utf8", timeout: 30_000 });
  expect(run.status, run.stderr).toBe(0);
  return run.stdout.split("\n").filter((line) => line !== "");
}

export function xattrsSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("extended attributes", () => {
    it("of user, trusted and security keep any bytes", async () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x");
      const values: Record<string, Buffer> = {
        "user.text": Buffer.from("value"),
        "user.empty": Buffer.alloc(0),
        "user.bytes": Buffer.from([0, 255, 10, 0]),
        "trusted.root": Buffer.from("only"),
        "security.label": Buffer.from("system_u:object_r:x\0"),
        [`user.${"n".repeat(250)}`]: Buffer.alloc(1000, 7),
      };
      for (const path of [file, d]) {
        for (const [name, value] of Object.entries(values)) sys.setXattr(path, name, value);
      }
      const check = (): void => {
        for (const path of [file, d]) {
          expect(sys.listXattrs(path)).toEqual(Object.keys(values).sort());
          for (const [name, value] of Object.entries(values)) {
            expect(sys.getXattr(path, name).equals(value), name).toBe(true);
          }
        }
      };
      check();
      await volume().remount();
      check();
      for (const name of Object.keys(values)) sys.removeXattr(file, name);
      expect(sys.listXattrs(file)).toEqual([]);
    });

    it("CREATE, REPLACE and the errnos", () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x");
      expect(errnoOf(() => sys.setXattr(file, "user.a", "1", REPLACE))).toBe("ENODATA");
      sys.setXattr(file, "user.a", "1", CREATE);
      expect(errnoOf(() => sys.setXattr(file, "user.a", "2", CREATE))).toBe("EEXIST");
      sys.setXattr(file, "user.a", "a longer value", REPLACE);
      expect(sys.getXattr(file, "user.a").toString()).toBe("a longer value");
      if (can.linuxCalls) expect(errnoOf(() => sys.getXattr(file, "user.a", 3))).toBe("ERANGE");
      expect(errnoOf(() => sys.getXattr(file, "user.b"))).toBe("ENODATA");
      expect(errnoOf(() => sys.removeXattr(file, "user.b"))).toBe("ENODATA");
      expect(errnoOf(() => sys.setXattr(file, "other.a", "1"))).toBe("EOPNOTSUPP");
      expect(errnoOf(() => sys.setXattr(file, `user.${"n".repeat(251)}`, "1"))).toBe("ERANGE");
      expect(errnoOf(() => sys.setXattr(file, "user.big", Buffer.alloc(65_537)))).toBe("E2BIG");
      sys.symlink("file", `${d}/link`);
      expect(errnoOf(() => sys.setXattr(`${d}/link`, "user.a", "1"))).toBe("EPERM");
      sys.setXattr(`${d}/link`, "trusted.a", "1");
      sys.mknod(`${d}/fifo`, S.FIFO | 0o666);
      expect(errnoOf(() => sys.setXattr(`${d}/fifo`, "user.a", "1"))).toBe("EPERM");
    });

    it("large ones, up to what the volume takes", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      for (const size of [1, 511, 512, 4096, 16_384, 60_000]) {
        const value = Buffer.alloc(size, size % 251);
        sys.setXattr(file, "user.large", value);
        volume().dropCaches();
        expect(sys.getXattr(file, "user.large").equals(value), String(size)).toBe(true);
      }
    });

    it.skipIf(!can.callerOwner)("users need permission, trusted ones are root's and hidden", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      sys.setXattr(file, "user.a", "1");
      sys.setXattr(file, "trusted.a", "1");
      sys.chmod(file, 0o600);
      asUser(NOBODY, NOBODY, [], () => {
        expect(errnoOf(() => sys.setXattr(file, "user.a", "2"))).toBe("EACCES");
        expect(errnoOf(() => sys.getXattr(file, "user.a"))).toBe("EACCES");
      });
      sys.chmod(file, 0o666);
      const python = `
import os
print(os.listxattr(${JSON.stringify(file)}))
os.setxattr(${JSON.stringify(file)}, "user.a", b"2")
for body in (lambda: os.getxattr(${JSON.stringify(file)}, "trusted.a"),
             lambda: os.setxattr(${JSON.stringify(file)}, "trusted.a", b"2"),
             lambda: os.setxattr(${JSON.stringify(file)}, "security.a", b"2")):
    try: body(); print("allowed")
    except OSError as e: print(e.errno)
`;
      const words = ["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", python];
      const run = spawnSync("setpriv", words, { encoding: "utf8", timeout: 30_000 });
      // ENODATA and EPERM, as ext4 answers.
      expect(run.stdout.split("\n"), run.stderr).toEqual(["['user.a']", "61", "1", "1", ""]);
    });
  });

  describe.skipIf(!can.acls)("access control lists", () => {
    it("let a named user in, and the mask limits them", async () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x");
      sys.chmod(file, 0o600);
      const open = (uid: number, flags: number): string =>
        errnoOf(() => asUser(uid, uid, [], () => sys.close(sys.open(file, flags))));
      expect(open(ALICE, O.RDONLY)).toBe("EACCES");
      setfacl("-m", `u:${ALICE}:rw`, file);
      expect(getfacl(file)).toEqual(["user::rw-", `user:${ALICE}:rw-`, "group::---", "mask::rw-", "other::---"]);
      expect(sys.lstat(file).mode).toBe(0o660);
      expect([open(ALICE, O.RDWR), open(BOB, O.RDONLY)]).toEqual(["none", "EACCES"]);
      // chmod changes the mask, and the mode shows it.
      sys.chmod(file, 0o640);
      expect(getfacl(file)).toContain("mask::r--");
      expect([open(ALICE, O.RDONLY), open(ALICE, O.WRONLY)]).toEqual(["none", "EACCES"]);
      setfacl("-m", "m::rwx", file);
      expect(sys.lstat(file).mode).toBe(0o670);
      volume().dropCaches();
      expect(open(ALICE, O.WRONLY)).toBe("none");
      await volume().remount();
      expect(open(ALICE, O.WRONLY)).toBe("none");
      expect(sys.listXattrs(file)).toEqual(["system.posix_acl_access"]);
      setfacl("-b", file);
      expect(sys.listXattrs(file)).toEqual([]);
      expect(open(ALICE, O.RDONLY)).toBe("EACCES");
      // The group's own permissions come back when the mask goes.
      expect(sys.lstat(file).mode).toBe(0o600);
    });

    it("groups, and the owner's class before others", () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x");
      sys.chmod(file, 0o604);
      setfacl("-m", "g:5001:-,u:4002:r", file);
      const read = (uid: number, groups: number[]): string =>
        errnoOf(() => asUser(uid, uid, groups, () => sys.close(sys.open(file, O.RDONLY))));
      expect(read(ALICE, [])).toBe("none");
      expect(read(ALICE, [5001])).toBe("EACCES");
      expect(read(BOB, [5001])).toBe("none");
    });

    it("of a directory are inherited, cut to the mode asked for, not to the umask", () => {
      const d = volume().folder();
      sys.mkdir(`${d}/dir`);
      setfacl("-d", "-m", `u::rwx,u:${ALICE}:rwx,g::rx,o::-`, `${d}/dir`);
      expect(getfacl(`${d}/dir`, "-d")).toEqual([
        "user::rwx",
        `user:${ALICE}:rwx`,
        "group::r-x",
        "mask::rwx",
        "other::---",
      ]);
      withUmask(0o077, () => {
        sys.close(sys.open(`${d}/dir/file`, O.CREAT | O.WRONLY, 0o666));
        sys.close(sys.open(`${d}/dir/private`, O.CREAT | O.WRONLY, 0o600));
        sys.mkdir(`${d}/dir/sub`, 0o777);
        sys.mknod(`${d}/dir/fifo`, S.FIFO | 0o666);
        sys.symlink("x", `${d}/dir/link`);
      });
      expect(sys.lstat(`${d}/dir/file`).mode).toBe(0o660);
      expect(getfacl(`${d}/dir/file`)).toEqual([
        "user::rw-",
        `user:${ALICE}:rwx`,
        "group::r-x",
        "mask::rw-",
        "other::---",
      ]);
      expect(getfacl(`${d}/dir/private`)).toContain("mask::---");
      expect(sys.lstat(`${d}/dir/private`).mode).toBe(0o600);
      expect(sys.lstat(`${d}/dir/sub`).mode).toBe(0o770);
      expect(getfacl(`${d}/dir/sub`, "-d")).toEqual(getfacl(`${d}/dir`, "-d"));
      expect(sys.lstat(`${d}/dir/fifo`).mode).toBe(0o660);
      expect(sys.listXattrs(`${d}/dir/link`)).toEqual([]);
      const made = errnoOf(() => asUser(ALICE, ALICE, [], () => sys.mkdir(`${d}/dir/sub/alice`)));
      expect(made).toBe("none");
      expect(errnoOf(() => asUser(BOB, BOB, [], () => sys.mkdir(`${d}/dir/sub/bob`)))).toBe("EACCES");
      setfacl("-k", `${d}/dir`);
      withUmask(0o077, () => sys.close(sys.open(`${d}/dir/after`, O.CREAT | O.WRONLY, 0o666)));
      expect(sys.lstat(`${d}/dir/after`).mode).toBe(0o600);
    });

    it("set by an owner outside the group drop setgid; others may not set them", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      sys.lchown(file, ALICE, 5001);
      sys.chmod(file, 0o2755);
      const words = [`--reuid=${ALICE}`, `--regid=${ALICE}`, "--clear-groups", "setfacl", "-m", "u:4002:rx", file];
      expect(spawnSync("setpriv", words, { timeout: 30_000 }).status).toBe(0);
      expect(sys.lstat(file).mode.toString(8)).toBe("755");
      // setfacl makes no call when nothing would change, so another entry.
      const other = words.map((word) => word.replace(String(ALICE), String(BOB)).replace("u:4002:rx", "u:4002:r"));
      expect(spawnSync("setpriv", other, { timeout: 30_000 }).status).toBe(1);
    });
  });
}
