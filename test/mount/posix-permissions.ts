// End-to-end: owners and modes as other users meet them: who may do what, sticky and setgid directories, and when the
// setuid and setgid bits go.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { MountedVolume } from "./posix-mounted.ts";
import { NOBODY, O, RENAME, S, asUser, errnoOf, sys, withUmask } from "./posix-system.ts";

const ALICE = 4001;
const BOB = 4002;
const STAFF = 5001;
const as = <T>(uid: number, body: () => T): T => asUser(uid, uid, [], body);

export function permissionsSuite(volume: () => MountedVolume, can: MountedVolume["can"]): void {
  describe("permissions", () => {
    it("nobody gets only what the mode gives", () => {
      const d = volume().folder();
      writeFileSync(`${d}/file`, "secret");
      const tries: [number, string, string][] = [
        [0o600, "EACCES", "EACCES"],
        [0o604, "none", "EACCES"],
        [0o602, "EACCES", "none"],
        [0o666, "none", "none"],
      ];
      for (const [mode, reading, writing] of tries) {
        sys.chmod(`${d}/file`, mode);
        const open = (flags: number): string =>
          errnoOf(() => as(NOBODY, () => sys.close(sys.open(`${d}/file`, flags))));
        expect([open(O.RDONLY), open(O.WRONLY), open(O.WRONLY | O.TRUNC)], mode.toString(8)).toEqual([
          reading,
          writing,
          writing,
        ]);
        if (writing === "none") writeFileSync(`${d}/file`, "secret");
      }
      sys.mkdir(`${d}/closed`, 0o711);
      writeFileSync(`${d}/closed/file`, "x");
      expect(errnoOf(() => as(NOBODY, () => sys.open(`${d}/closed`, O.RDONLY)))).toBe("EACCES");
      expect(as(NOBODY, () => sys.lstat(`${d}/closed/file`)).size).toBe(1);
      sys.chmod(`${d}/closed`, 0o766);
      expect(errnoOf(() => as(NOBODY, () => sys.lstat(`${d}/closed/file`)))).toBe("EACCES");
      // The same through a program of that user's own.
      const cat = spawnSync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", "cat", `${d}/closed/file`]);
      expect(cat.status).toBe(1);
      expect(String(cat.stderr)).toContain("Permission denied");
    });

    it("only the owner changes mode and times; only root gives away", () => {
      const d = volume().folder();
      const file = `${d}/file`;
      writeFileSync(file, "x");
      sys.lchown(file, ALICE, ALICE);
      sys.chmod(file, 0o666);
      expect(errnoOf(() => as(BOB, () => sys.chmod(file, 0o600)))).toBe("EPERM");
      expect(errnoOf(() => as(BOB, () => sys.lchown(file, BOB, BOB)))).toBe("EPERM");
      expect(errnoOf(() => as(ALICE, () => sys.lchown(file, BOB, -1)))).toBe("EPERM");
      expect(errnoOf(() => as(ALICE, () => sys.lchown(file, -1, STAFF)))).toBe("EPERM");
      asUser(ALICE, ALICE, [STAFF], () => sys.lchown(file, -1, STAFF));
      as(ALICE, () => sys.chmod(file, 0o644));
      expect(sys.lstat(file)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o644 });
      expect(errnoOf(() => as(BOB, () => sys.utimens(file, 1n, 1n)))).toBe("EPERM");
      if (can.nanoseconds) {
        expect(errnoOf(() => as(BOB, () => sys.utimens(file, "now", "now")))).toBe("EACCES");
        sys.chmod(file, 0o646);
        as(BOB, () => sys.utimens(file, "now", "now"));
        expect(errnoOf(() => as(BOB, () => sys.utimens(file, "now", "omit")))).toBe("EPERM");
      }
    });

    it.skipIf(!can.callerOwner)("what a user makes is theirs, under their umask", () => {
      const d = volume().folder();
      asUser(ALICE, STAFF, [], () => {
        withUmask(0o027, () => {
          sys.close(sys.open(`${d}/file`, O.CREAT | O.WRONLY, 0o777));
          sys.mkdir(`${d}/dir`, 0o777);
          sys.mknod(`${d}/fifo`, S.FIFO | 0o666);
          sys.symlink("x", `${d}/link`);
        });
      });
      expect(sys.lstat(`${d}/file`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o750 });
      expect(sys.lstat(`${d}/dir`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o750 });
      expect(sys.lstat(`${d}/fifo`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o640 });
      expect(sys.lstat(`${d}/link`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o777 });
      expect(errnoOf(() => as(ALICE, () => sys.mknod(`${d}/dev`, S.CHAR | 0o666, 1, 3)))).toBe("EPERM");
    });

    it("names come and go only with write and search permission on the directory", () => {
      const d = volume().folder();
      sys.mkdir(`${d}/dir`);
      sys.mkdir(`${d}/open`);
      sys.chmod(`${d}/open`, 0o777);
      writeFileSync(`${d}/dir/file`, "x");
      writeFileSync(`${d}/open/file`, "x");
      sys.mkdir(`${d}/dir/sub`);
      for (const mode of [0o755, 0o776, 0o774, 0o772]) {
        sys.chmod(`${d}/dir`, mode);
        const refusals: (() => unknown)[] = [
          () => sys.unlink(`${d}/dir/file`),
          () => sys.rmdir(`${d}/dir/sub`),
          () => sys.mkdir(`${d}/dir/new`),
          () => sys.open(`${d}/dir/new`, O.CREAT | O.WRONLY),
          () => sys.symlink("x", `${d}/dir/new`),
          () => sys.rename(`${d}/dir/file`, `${d}/open/moved`),
          () => sys.rename(`${d}/open/file`, `${d}/dir/moved`),
          () => sys.rename(`${d}/open/file`, `${d}/dir/file`),
        ];
        for (const refused of refusals) {
          expect(
            errnoOf(() => as(NOBODY, refused)),
            `${mode.toString(8)} ${String(refused)}`,
          ).toBe("EACCES");
        }
      }
      sys.chmod(`${d}/dir`, 0o773);
      as(NOBODY, () => {
        sys.rename(`${d}/dir/file`, `${d}/open/moved`);
        sys.rmdir(`${d}/dir/sub`);
        sys.mkdir(`${d}/dir/new`);
      });
    });

    it("in a sticky directory names belong to their owners", () => {
      const d = volume().folder();
      sys.chmod(d, 0o1777);
      writeFileSync(`${d}/alice`, "x");
      sys.lchown(`${d}/alice`, ALICE, ALICE);
      sys.mkdir(`${d}/alicedir`);
      sys.lchown(`${d}/alicedir`, ALICE, ALICE);
      writeFileSync(`${d}/bob`, "x");
      sys.lchown(`${d}/bob`, BOB, BOB);
      const refusals: (() => unknown)[] = [
        () => sys.unlink(`${d}/alice`),
        () => sys.rmdir(`${d}/alicedir`),
        () => sys.rename(`${d}/alice`, `${d}/mine`),
        () => sys.rename(`${d}/bob`, `${d}/alice`),
        () => sys.rename(`${d}/alicedir`, `${d}/mine`),
      ];
      for (const refused of refusals)
        expect(
          errnoOf(() => as(BOB, refused)),
          String(refused),
        ).toBe("EPERM");
      if (can.linuxCalls) {
        expect(errnoOf(() => as(BOB, () => sys.rename(`${d}/bob`, `${d}/alice`, RENAME.EXCHANGE)))).toBe("EPERM");
      }
      as(ALICE, () => {
        sys.rename(`${d}/alice`, `${d}/renamed`);
        sys.unlink(`${d}/renamed`);
        sys.rmdir(`${d}/alicedir`);
      });
      // The directory's owner may, too.
      sys.lchown(d, ALICE, ALICE);
      as(ALICE, () => sys.unlink(`${d}/bob`));
    });

    it.skipIf(!can.callerOwner)("a setgid directory hands its group down", () => {
      const d = volume().folder();
      sys.mkdir(`${d}/shared`);
      sys.lchown(`${d}/shared`, 0, STAFF);
      sys.chmod(`${d}/shared`, 0o2777);
      withUmask(0, () =>
        as(ALICE, () => {
          sys.close(sys.open(`${d}/shared/file`, O.CREAT | O.WRONLY, 0o2775));
          sys.close(sys.open(`${d}/shared/plain`, O.CREAT | O.WRONLY, 0o2664));
          sys.mkdir(`${d}/shared/dir`, 0o755);
          sys.symlink("x", `${d}/shared/link`);
        }),
      );
      // Not in the group: an executable of that group must not come out setgid.
      expect(sys.lstat(`${d}/shared/file`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o775 });
      expect(sys.lstat(`${d}/shared/plain`)).toMatchObject({ gid: STAFF, mode: 0o2664 });
      expect(sys.lstat(`${d}/shared/dir`)).toMatchObject({ uid: ALICE, gid: STAFF, mode: 0o2755 });
      expect(sys.lstat(`${d}/shared/link`)).toMatchObject({ uid: ALICE, gid: STAFF });
    });

    it.skipIf(!can.linuxCalls)(
      "setuid and setgid go when a user writes, truncates, or anybody changes the owner",
      () => {
        const d = volume().folder();
        const file = `${d}/file`;
        writeFileSync(`${d}/source`, "z".repeat(100));
        const fresh = (mode: number): void => {
          writeFileSync(file, "x".repeat(100));
          sys.lchown(file, ALICE, ALICE);
          sys.chmod(file, mode);
        };
        const changes: Record<string, () => void> = {
          write: () => {
            const fd = sys.open(file, O.WRONLY);
            sys.pwrite(fd, Buffer.from("y"), 0);
            sys.close(fd);
          },
          "write directly": () => {
            const fd = sys.open(file, O.WRONLY | O.APPEND);
            sys.write(fd, Buffer.from("y"));
            sys.close(fd);
          },
          truncate: () => sys.truncate(file, 10),
          O_TRUNC: () => sys.close(sys.open(file, O.WRONLY | O.TRUNC)),
          fallocate: () => {
            const fd = sys.open(file, O.WRONLY);
            sys.fallocate(fd, 0, 0, 5000);
            sys.close(fd);
          },
          copy_file_range: () => {
            const [from, to] = [sys.open(`${d}/source`, O.RDONLY), sys.open(file, O.WRONLY)];
            sys.copyFileRange(from, 0, to, 0, 50);
            for (const fd of [from, to]) sys.close(fd);
          },
        };
        for (const [name, change] of Object.entries(changes)) {
          fresh(0o6777);
          as(BOB, change);
          expect(sys.lstat(file).mode.toString(8), `${name} by a user`).toBe("777");
          fresh(0o6777);
          change();
          expect(sys.lstat(file).mode.toString(8), `${name} by root`).toBe("6777");
        }
        fresh(0o6755);
        sys.lchown(file, BOB, -1);
        expect(sys.lstat(file).mode.toString(8)).toBe("755");
        fresh(0o6755);
        asUser(ALICE, ALICE, [STAFF], () => sys.lchown(file, -1, STAFF));
        expect(sys.lstat(file).mode.toString(8)).toBe("755");
        fresh(0o2644);
        sys.lchown(file, BOB, BOB);
        expect(sys.lstat(file).mode.toString(8)).toBe("2644");
        sys.mkdir(`${d}/dir`);
        sys.chmod(`${d}/dir`, 0o6755);
        sys.lchown(`${d}/dir`, ALICE, STAFF);
        expect(sys.lstat(`${d}/dir`).mode.toString(8)).toBe("6755");
      },
    );

    it("chmod by an owner outside the group drops setgid", () => {
      const file = `${volume().folder()}/file`;
      writeFileSync(file, "x");
      sys.lchown(file, ALICE, STAFF);
      as(ALICE, () => sys.chmod(file, 0o2755));
      expect(sys.lstat(file).mode.toString(8)).toBe("755");
      asUser(ALICE, ALICE, [STAFF], () => sys.chmod(file, 0o2755));
      expect(sys.lstat(file).mode.toString(8)).toBe("2755");
    });

    it.skipIf(!can.linuxCalls)("file capabilities go with the first change of content or owner", () => {
      const file = `${volume().folder()}/file`;
      // VFS_CAP_REVISION_2 with cap_net_bind_service permitted and effective.
      const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");
      const changes: (() => void)[] = [
        () => writeFileSync(file, "changed", { flag: "r+" }),
        () => sys.truncate(file, 1),
        () => sys.lchown(file, ALICE, ALICE),
      ];
      for (const change of changes) {
        writeFileSync(file, "xxxx");
        sys.setXattr(file, "security.capability", capability);
        expect(sys.getXattr(file, "security.capability").equals(capability)).toBe(true);
        change();
        expect(
          errnoOf(() => sys.getXattr(file, "security.capability")),
          String(change),
        ).toBe("ENODATA");
      }
    });
  });
}
