// Extended attributes and ACLs: which names and sizes, flags, what an ACL does to the mode and the mode to an ACL.

import { beforeEach, describe, expect, it } from "vitest";
import { type Caller, XattrFlag } from "../../src/posix/requests.ts";
import { MemoryVolume } from "../property/posix-volume.ts";
import { refusal } from "./errno.ts";

const ROOT: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const USER: Caller = { ...ROOT, uid: 1000, gid: 1000 };
const ACCESS = "system.posix_acl_access";
const DEFAULT = "system.posix_acl_default";
const [USER_OBJ, NAMED_USER, GROUP_OBJ, MASK, OTHER] = [1, 2, 4, 16, 32] as const;

let made: MemoryVolume;
let file: number;
let directory: number;
beforeEach(async () => {
  made = await MemoryVolume.format({ sizesMib: [32] });
  file = (await made.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, ROOT)).ino;
  directory = (await made.fs.makeDirectory(1, Buffer.from("dir"), 0o755, ROOT)).ino;
});

type AclText = readonly (readonly [tag: number, perm: number, id?: number])[];

function acl(entries: AclText, version = 2): Uint8Array {
  const value = Buffer.alloc(4 + entries.length * 8);
  value.writeUInt32LE(version, 0);
  entries.forEach(([tag, perm, id = 0xffffffff], i) => {
    value.writeUInt16LE(tag, 4 + i * 8);
    value.writeUInt16LE(perm, 6 + i * 8);
    value.writeUInt32LE(id, 8 + i * 8);
  });
  return value;
}

const NAMED: AclText = [
  [USER_OBJ, 6],
  [NAMED_USER, 7, 1000],
  [GROUP_OBJ, 4],
  [MASK, 6],
  [OTHER, 0],
];

const set = (ino: number, name: string, value: Uint8Array, flags = 0, caller = ROOT): unknown =>
  made.fs.setXattr(ino, name, value, flags, caller, false);

async function modeOf(ino: number): Promise<string> {
  return ((await made.fs.getAttributes(ino)).mode & 0o7777).toString(8);
}

describe("copies", () => {
  it("may be more than the volume has when a log is replayed: the request was made when it had them", async () => {
    const value = Buffer.from("8");
    const time = { sec: 1, nsec: 0 };
    const operation = { op: "setxattr", ino: file, name: "user.h2ts.copies", value, time } as const;
    await made.volume.apply({ ...operation, create: false, replace: false, killSgid: false });
    await made.remount();
    expect(Buffer.from((await made.fs.getXattr(file, "user.h2ts.copies")) ?? []).toString()).toBe("8");
    // Until it has them again that is all.
    await made.fs.write(file, 0, new Uint8Array(100_000).fill(3), {});
    await made.remount();
    expect((await made.fs.read(file, 0, 100_000)).lengthBytes).toBe(100_000);
    expect(await made.findings()).toEqual([]);
  });
});

describe("extended attributes", () => {
  it("keep names and values of any bytes, up to 64 KiB in all", async () => {
    const value = Buffer.from([0, 255, 10, 13]);
    await set(file, "user.\xff\x01", value);
    await set(file, "user.empty", new Uint8Array(0));
    await set(file, `user.${"n".repeat(250)}`, new Uint8Array(40_000).fill(9));
    await made.remount();
    expect(Buffer.from((await made.fs.getXattr(file, "user.\xff\x01")) ?? [])).toEqual(value);
    expect((await made.fs.getXattr(file, "user.empty"))?.length).toBe(0);
    expect([...(await made.fs.listXattrs(file))].sort()).toEqual(
      ["user.\xff\x01", "user.empty", `user.${"n".repeat(250)}`].sort(),
    );
    expect(await refusal(() => set(file, "user.more", new Uint8Array(30_000)))).toBe("ENOSPC");
    expect(await refusal(() => set(file, "user.more", new Uint8Array(65_537)))).toBe("E2BIG");
    expect(await made.findings()).toEqual([]);
    for (const name of await made.fs.listXattrs(file)) await made.fs.removeXattr(file, name, ROOT);
    expect((await made.fs.getAttributes(file)).blocks).toBe(0);
    await made.remount();
    expect(await made.findings()).toEqual([]);
  });

  it("have Linux's rules", async () => {
    const value = Buffer.from("v");
    const link = (await made.fs.makeSymlink(1, Buffer.from("link"), Buffer.from("file"), ROOT)).ino;
    expect(await made.fs.getXattr(file, "user.none")).toBeUndefined();
    expect(await refusal(() => made.fs.removeXattr(file, "user.none", ROOT))).toBe("ENODATA");
    expect(await refusal(() => set(file, "user.a", value, XattrFlag.REPLACE))).toBe("ENODATA");
    expect(await refusal(() => set(file, "user.a", value, XattrFlag.CREATE))).toBe("ok");
    expect(await refusal(() => set(file, "user.a", value, XattrFlag.CREATE))).toBe("EEXIST");
    expect(await refusal(() => set(file, "user.", value))).toBe("EINVAL");
    expect(await refusal(() => set(file, "nonsense.a", value))).toBe("EOPNOTSUPP");
    expect(await refusal(() => set(file, "system.other", value))).toBe("EOPNOTSUPP");
    expect(await refusal(() => set(link, "user.a", value))).toBe("EPERM");
    expect(await refusal(() => set(link, "trusted.a", value))).toBe("ok");
    expect(await refusal(() => set(link, ACCESS, acl(NAMED)))).toBe("EOPNOTSUPP");
    expect(await refusal(() => set(file, `user.${"n".repeat(251)}`, value))).toBe("ERANGE");
  });
});

describe("ACLs", () => {
  it("set the mode, and follow it", async () => {
    await set(file, ACCESS, acl(NAMED));
    expect(await modeOf(file)).toBe("660");
    await made.fs.setAttributes(file, { mode: 0o705 });
    const changed = acl([
      [USER_OBJ, 7],
      [NAMED_USER, 7, 1000],
      [GROUP_OBJ, 4],
      [MASK, 0],
      [OTHER, 5],
    ]);
    expect(Buffer.from((await made.fs.getXattr(file, ACCESS)) ?? [])).toEqual(changed);
    await made.fs.removeXattr(file, ACCESS, ROOT);
    expect(await modeOf(file)).toBe("705");
    expect(await refusal(() => made.fs.removeXattr(file, ACCESS, ROOT))).toBe("ok");
  });

  it("vanish when the mode says as much", async () => {
    await set(
      file,
      ACCESS,
      acl([
        [USER_OBJ, 7],
        [GROUP_OBJ, 5],
        [OTHER, 1],
      ]),
    );
    expect(await modeOf(file)).toBe("751");
    expect(await made.fs.listXattrs(file)).toEqual([]);
    await set(file, ACCESS, acl(NAMED));
    await set(file, ACCESS, acl([]));
    expect(await made.fs.listXattrs(file)).toEqual([]);
  });

  it("take the setgid bit from whoever may not keep it", async () => {
    await made.fs.setAttributes(file, { mode: 0o2755 });
    await made.fs.setXattr(file, ACCESS, acl(NAMED), 0, USER, true);
    expect(await modeOf(file)).toBe("660");
  });

  it("are inherited, and the umask then does not count", async () => {
    await set(directory, DEFAULT, acl(NAMED));
    const inner = await made.fs.makeNode(directory, Buffer.from("f"), 0o100666, 0, 0, { ...ROOT, umask: 0o077 });
    expect((inner.mode & 0o777).toString(8)).toBe("660");
    expect(Buffer.from((await made.fs.getXattr(inner.ino, ACCESS)) ?? [])).toEqual(acl(NAMED));
    const deeper = await made.fs.makeDirectory(directory, Buffer.from("d"), 0o750, { ...ROOT, umask: 0o077 });
    expect((deeper.mode & 0o777).toString(8)).toBe("640");
    expect(Buffer.from((await made.fs.getXattr(deeper.ino, DEFAULT)) ?? [])).toEqual(acl(NAMED));
    await made.fs.makeSymlink(directory, Buffer.from("l"), Buffer.from("f"), ROOT);
    await made.remount();
    expect(await made.findings()).toEqual([]);
  });

  it("are refused when they are none", async () => {
    expect(await refusal(() => set(file, ACCESS, Buffer.from([1, 2])))).toBe("EINVAL");
    expect(await refusal(() => set(file, ACCESS, acl(NAMED, 3)))).toBe("EOPNOTSUPP");
    expect(
      await refusal(() =>
        set(
          file,
          ACCESS,
          acl([
            [USER_OBJ, 6],
            [GROUP_OBJ, 4],
          ]),
        ),
      ),
    ).toBe("EINVAL");
    expect(await refusal(() => set(file, ACCESS, acl(NAMED.filter(([tag]) => tag !== MASK))))).toBe("EINVAL");
    expect(
      await refusal(() =>
        set(
          file,
          ACCESS,
          acl([
            [OTHER, 6],
            [GROUP_OBJ, 4],
            [USER_OBJ, 4],
          ]),
        ),
      ),
    ).toBe("EINVAL");
    expect(
      await refusal(() =>
        set(
          file,
          ACCESS,
          acl([
            [USER_OBJ, 8],
            [GROUP_OBJ, 4],
            [OTHER, 4],
          ]),
        ),
      ),
    ).toBe("EINVAL");
    expect(await refusal(() => set(file, DEFAULT, acl(NAMED)))).toBe("EACCES");
  });
});
