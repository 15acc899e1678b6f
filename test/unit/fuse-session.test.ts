// What the session of the kernel transport makes of requests, without a kernel.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NullRequests } from "../../bench/null-requests.ts";
import { SystemClock } from "../../src/base/clock.ts";
import { Errno, FsError } from "../../src/base/errno.ts";
import { InitFlag, InitFlag2, Opcode, SetattrFlag } from "../../src/fuse/kernel/abi.ts";
import { attributeChange } from "../../src/fuse/kernel/attributes.ts";
import { Request } from "../../src/fuse/kernel/request.ts";
import { Notices } from "../../src/fuse/kernel/notices.ts";
import { Session } from "../../src/fuse/kernel/session.ts";
import * as structures from "../../src/fuse/kernel/structures.ts";
import type { Attributes, Caller, FileSystemRequests } from "../../src/posix/requests.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";
import { message, name, only, ScriptedChannel, session, strict, words, WRITING_BACK } from "./fuse-messages.ts";

describe("lseek", () => {
  it("asks for data only after the kernel has written its pages back, one file at a time", async () => {
    const asked: number[] = [];
    const fs = only({
      seek(ino) {
        asked.push(ino);
        return 5;
      },
    });
    const told: Buffer[] = [];
    const { channel, served } = session(fs, {
      negotiated: WRITING_BACK,
      notices: new Notices((notice) => Promise.resolve(told.push(Buffer.from(notice)))),
    });
    const body = words(0, 0, 0, 0, 3, 0);
    channel.requests.push(message(Opcode.LSEEK, 9, body, 1n), message(Opcode.LSEEK, 10, body, 2n));
    expect([served.step(), served.step()]).toEqual(["served", "served"]);
    expect(asked).toEqual([]);
    await new Promise(setImmediate);
    expect(asked).toEqual([9, 10]);
    expect(told.map((notice) => [notice.readUInt32LE(0), notice.readInt32LE(4), notice.readUInt8(16)])).toEqual([
      [40, 2, 9],
      [40, 2, 10],
    ]);
    expect(channel.answers.map(({ error, body: at }) => [error, at.readUInt32LE(0)])).toEqual([
      [0, 5],
      [0, 5],
    ]);
  });

  it("leaves the buffers to the writes that it waits for, however many ask, and is left to the next process", async () => {
    let written = (): void => undefined;
    const notices = new Notices(() => new Promise((resolve) => (written = () => resolve(0))));
    const { channel, served } = session(only({ seek: () => 5 }), { negotiated: WRITING_BACK, notices });
    const body = words(0, 0, 0, 0, 3, 0);
    for (let unique = 1n; unique <= 100n; unique++) channel.requests.push(message(Opcode.LSEEK, 9, body, unique));
    channel.requests.push(message(Opcode.GETATTR, 1, words(0, 0, 0, 0), 101n));
    for (let i = 0; i < 101; i++) expect(served.step()).toBe("served");
    await served.quiet();
    expect(channel.answers.map(({ unique }) => unique)).toEqual([101n]);
    const closed = notices.close();
    written();
    await closed;
    await new Promise(setImmediate);
    // The first, which had been told already; the others come again.
    expect(channel.answers.map(({ unique }) => unique)).toEqual([101n, 1n]);
  });
});

describe("negotiation", () => {
  const init = (major: number, minor: number, flags: number, flags2: number): Buffer =>
    message(Opcode.INIT, 0, Buffer.concat([words(major, minor, 131072, flags >>> 0, flags2 >>> 0), Buffer.alloc(44)]));

  it("takes what it wants and leaves locks and O_TRUNC to the kernel", () => {
    const { ask, served } = session(new NullRequests());
    const body = ask(init(7, 45, 0xffff_ffff, 0xffff_ffff))?.body as Buffer;
    const flags = body.readUInt32LE(12);
    for (const flag of [
      "WRITEBACK_CACHE",
      "NO_OPEN_SUPPORT",
      "NO_OPENDIR_SUPPORT",
      "POSIX_ACL",
      "DONT_MASK",
    ] as const) {
      expect([flag, (flags & InitFlag[flag]) !== 0]).toEqual([flag, true]);
    }
    for (const flag of ["ATOMIC_O_TRUNC", "POSIX_LOCKS", "FLOCK_LOCKS", "HANDLE_KILLPRIV"] as const) {
      expect([flag, (flags & InitFlag[flag]) !== 0]).toEqual([flag, false]);
    }
    expect(body.readUInt32LE(20)).toBe(1 << 20);
    expect(body.readUInt16LE(28)).toBe(256);
    expect(body.readUInt32LE(32)).toBe(InitFlag2.HAS_RESEND);
    expect(served.negotiated?.minor).toBe(45);
  });

  it("never takes what was not offered", () => {
    const { ask } = session(new NullRequests());
    const offered = InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT;
    const body = ask(init(7, 36, offered, 0xffff_ffff))?.body as Buffer;
    expect(body.readUInt32LE(4)).toBe(36);
    expect(body.readUInt32LE(12)).toBe(offered);
    expect(body.readUInt32LE(32)).toBe(0);
  });

  it("refuses a kernel that is too old", () => {
    const { ask } = session(new NullRequests());
    expect(ask(init(7, 23, 0xffff_ffff, 0))?.error).toBe(-Errno.EINVAL);
  });
});

describe("answers", () => {
  it("tells a missing name as an entry without a node, to be remembered", () => {
    const answer = session(new NullRequests()).ask(message(Opcode.LOOKUP, 1, name("absent"), 0x8000_0000_0000_0009n));
    expect(answer?.unique).toBe(0x8000_0000_0000_0009n);
    expect(answer?.error).toBe(0);
    expect(answer?.body.readBigUInt64LE(0)).toBe(0n);
    expect(answer?.body.readBigUInt64LE(16)).toBeGreaterThan(1_000_000n);
  });

  it("has attributes kept for good, unless they change by themselves", () => {
    const fs = new NullRequests();
    for (const isTrimming of [false, true]) {
      const attributes = { ...fs.getAttributes(1), isTrimming };
      const { ask } = session(only({ lookup: () => attributes, getAttributes: () => attributes }));
      const valid = (opcode: number, at: number, body: Uint8Array): boolean =>
        ask(message(opcode, 1, body))!.body.readBigUInt64LE(at) > 0n;
      expect(valid(Opcode.LOOKUP, structures.EntryOut.entryValid, name("x"))).toBe(true);
      expect(valid(Opcode.LOOKUP, structures.EntryOut.attrValid, name("x"))).toBe(!isTrimming);
      const setattr = Buffer.alloc(structures.SetattrIn.sizeBytes);
      expect(valid(Opcode.SETATTR, structures.AttrOut.attrValid, setattr)).toBe(!isTrimming);
      expect(valid(Opcode.GETATTR, structures.AttrOut.attrValid, words(0, 0, 0, 0))).toBe(!isTrimming);
      expect(valid(Opcode.STATX, structures.StatxOut.attrValid, Buffer.alloc(24))).toBe(!isTrimming);
    }
  });

  it("answers what it does not know with ENOSYS and what is cut short with EINVAL", () => {
    const { ask } = session(new NullRequests());
    for (const opcode of [Opcode.OPEN, Opcode.OPENDIR, Opcode.CREATE, Opcode.FLUSH, Opcode.ACCESS, 63, 4096]) {
      expect(ask(message(opcode, 1, Buffer.alloc(64)))?.error).toBe(-Errno.ENOSYS);
    }
    expect(ask(message(Opcode.WRITE, 2, words(1, 2, 3)))?.error).toBe(-Errno.EINVAL);
    expect(ask(message(Opcode.LOOKUP, 1, Buffer.from("no end")))?.error).toBe(-Errno.EINVAL);
    const write = Buffer.concat([Buffer.alloc(16), words(5000, 0, 0, 0, 0, 0), Buffer.alloc(8)]);
    expect(ask(message(Opcode.WRITE, 2, write))?.error).toBe(-Errno.EINVAL);
  });

  it("turns FsError into its errno, and anything else into EIO and a fault", () => {
    const broken = new TypeError("a bug");
    const { ask, faults } = session(
      only({
        unlink: () => {
          throw new FsError("ENOTEMPTY");
        },
        removeDirectory: () => {
          throw broken;
        },
      }),
    );
    expect(ask(message(Opcode.UNLINK, 1, name("x")))?.error).toBe(-Errno.ENOTEMPTY);
    expect(faults).toEqual([]);
    expect(ask(message(Opcode.RMDIR, 1, name("x")))?.error).toBe(-Errno.EIO);
    expect(faults).toEqual([broken]);
  });

  it("gives names, caller and umask on as they came, whatever extensions follow", () => {
    let seen: { name: string; caller: Caller; umask: number } | undefined;
    const { ask } = session(
      only({
        makeDirectory: (_parent, bytes, _mode, caller) => {
          const text = Buffer.from(bytes).toString("latin1");
          seen = { name: text, caller, umask: caller.umask };
          return new NullRequests().getAttributes(1);
        },
      }),
    );
    const extension = Buffer.concat([words(16, 32), words(1, 555)]);
    ask(message(Opcode.MKDIR, 1, Buffer.concat([words(0o755, 0o027), name("\xff\xfe")]), 1n, extension));
    expect(seen).toMatchObject({ name: "\xff\xfe", umask: 0o027 });
    expect(seen?.caller).toMatchObject({ uid: 1000, gid: 1001, pid: 4242 });
  });

  it("reads every field of SETATTR", () => {
    const body = Buffer.alloc(structures.SetattrIn.sizeBytes);
    const valid =
      SetattrFlag.MODE | SetattrFlag.ATIME_NOW | SetattrFlag.MTIME | SetattrFlag.SIZE | SetattrFlag.KILL_SUIDGID;
    body.writeUInt32LE(valid, structures.SetattrIn.valid);
    body.writeUInt32LE(0o100640, structures.SetattrIn.mode);
    body.writeBigInt64LE(-5n, structures.SetattrIn.mtime);
    body.writeUInt32LE(999_999_995, structures.SetattrIn.mtimensec);
    body.writeBigUInt64LE(2n ** 40n, structures.SetattrIn.size);
    const request = new Request(new Uint8Array(message(Opcode.SETATTR, 2, body)));
    request.accept(40 + body.length);
    expect(attributeChange(request)).toEqual({
      mode: 0o100640,
      atime: "now",
      mtime: { sec: -5, nsec: 999_999_995 },
      size: 2 ** 40,
      killPrivileges: true,
    });
  });

  it("gives a lookup back when nobody took the answer", () => {
    const memory = new MemoryFileSystem(new SystemClock());
    const { ask, channel, faults } = session(memory);
    const before = memory.nodeCount;
    channel.writeResult = -Errno.ENOENT;
    const caller = { uid: 0, gid: 0, pid: 0, umask: 0 };
    memory.makeNode(1, Buffer.from("f"), 0o100644, 0, 0, caller);
    ask(message(Opcode.LOOKUP, 1, name("f")));
    memory.forget(2, 1);
    memory.unlink(1, Buffer.from("f"));
    expect(memory.nodeCount).toBe(before);
    expect(faults).toEqual([]);
  });
});

describe("promises", () => {
  it("answers in the order they settle, with whole buffers kept apart", async () => {
    const waiting: ((attributes: Attributes | undefined) => void)[] = [];
    const names: Uint8Array[] = [];
    const { channel, served } = session(
      only({
        lookup: (_parent, bytes) => {
          names.push(bytes);
          return new Promise((resolve) => waiting.push(resolve));
        },
      }),
    );
    for (let index = 0; index < 3; index++) channel.requests.push(message(1, 1, name(`name${index}`), BigInt(index)));
    for (let index = 0; index < 3; index++) served.step();
    expect(served.inFlight).toBe(3);
    expect(names.map((bytes) => Buffer.from(bytes).toString())).toEqual(["name0", "name1", "name2"]);
    for (const index of [2, 0, 1]) {
      waiting[index]?.(undefined);
      await Promise.resolve();
    }
    await served.quiet();
    expect(channel.answers.map((answer) => answer.unique)).toEqual([2n, 0n, 1n]);
  });

  it("stops taking requests when all buffers are out, and goes on after", async () => {
    const waiting: (() => void)[] = [];
    const { channel, served } = session(only({ sync: () => new Promise<void>((resolve) => waiting.push(resolve)) }));
    for (let index = 0; index < 100; index++) channel.requests.push(message(Opcode.SYNCFS, 1, Buffer.alloc(8)));
    let taken = 0;
    while (served.step() === "served") taken++;
    expect(taken).toBe(64);
    expect(served.step()).toBe("full");
    waiting.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
    expect(served.step()).toBe("served");
  });
});

describe("listings", () => {
  it("carry the lookups they hand out and stop at the size asked for", () => {
    const memory = new MemoryFileSystem(new SystemClock());
    const caller = { uid: 0, gid: 0, pid: 0, umask: 0 };
    for (let index = 0; index < 50; index++) memory.makeNode(1, Buffer.from(`file${index}`), 0o100644, 0, 0, caller);
    const { ask } = session(memory);
    const found: string[] = [];
    for (let cookie = 0; ; ) {
      const body = Buffer.alloc(structures.ReadIn.sizeBytes);
      body.writeBigUInt64LE(BigInt(cookie), structures.ReadIn.offset);
      body.writeUInt32LE(1000, structures.ReadIn.size);
      const list = ask(message(Opcode.READDIRPLUS, 1, body))?.body as Buffer;
      expect(list.length).toBeLessThanOrEqual(1000);
      if (list.length === 0) break;
      for (let at = 0; at < list.length; ) {
        const dirent = at + structures.DirentPlus.dirent;
        const length = list.readUInt32LE(dirent + structures.Dirent.namelen);
        const text = list.toString("latin1", dirent + 24, dirent + 24 + length);
        expect(list.readBigUInt64LE(at) === 0n).toBe(text === "." || text === "..");
        cookie = Number(list.readBigUInt64LE(dirent + structures.Dirent.off));
        found.push(text);
        at += structures.DirentPlus.sizeBytes + Math.ceil(length / 8) * 8;
      }
    }
    expect(found).toEqual([".", "..", ...Array.from({ length: 50 }, (_, index) => `file${index}`)]);
  });
});

describe("robustness", () => {
  it("answers or ignores any bytes at all, and has no fault of its own", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 64 }),
        fc.uint8Array({ maxLength: 300 }),
        fc.boolean(),
        (opcode, bytes, whole) => {
          const { channel, served, faults } = session(new NullRequests());
          channel.requests.push(whole ? message(opcode, 1, bytes) : Buffer.from(bytes));
          expect(served.step()).toBe("served");
          expect(channel.answers.length).toBeLessThanOrEqual(1);
          expect(faults).toEqual([]);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("taking over a mount", () => {
  const takenOver = (writeResult: number): Session => {
    const channel = new ScriptedChannel();
    channel.writeResult = writeResult;
    return new Session(channel, new MemoryFileSystem(new SystemClock()), strict());
  };

  it("finds the end of it when it was unmounted while nobody served it", () => {
    const session = takenOver(-Errno.ENODEV);
    session.resend();
    expect(session.step()).toBe("closed");
  });

  it("is settled once every request is answered that was sent again, whatever else waits", async () => {
    const RESENT = 1n << 63n;
    const lookup = (unique: bigint): Buffer => message(Opcode.LOOKUP, 1, name("missing"), unique);
    const fs: FileSystemRequests = new MemoryFileSystem(new SystemClock());
    const answers: (() => void)[] = [];
    fs.lookup = () => new Promise((resolve) => answers.push(() => resolve(undefined)));
    const channel = new ScriptedChannel();
    let settled = 0;
    const session = new Session(channel, fs, { ...strict(), onSettled: () => settled++ });
    session.resend();
    channel.requests.push(lookup(5n | RESENT), lookup(6n | RESENT), lookup(7n));
    for (let i = 0; i < 3; i++) session.step();
    answers[2]?.();
    answers[0]?.();
    await new Promise(setImmediate);
    expect(settled).toBe(0);
    answers[1]?.();
    await new Promise(setImmediate);
    expect(settled).toBe(1);
    const idle = new Session(channel, fs, { ...strict(), onSettled: () => settled++ });
    idle.resend();
    expect(idle.step()).toBe("idle");
    expect(settled).toBe(2);
  });

  it("is not settled by what has no answer, which the kernel sends before those and between them", async () => {
    const channel = new ScriptedChannel();
    let found = (): void => undefined;
    const lookup = () => new Promise<undefined>((resolve) => (found = () => resolve(undefined)));
    let settled = 0;
    const session = new Session(channel, only({ lookup }), { ...strict(), onSettled: () => settled++ });
    session.resend();
    channel.requests.push(
      message(Opcode.FORGET, 5, words(1, 0), 2n),
      message(Opcode.BATCH_FORGET, 0, words(0, 0), 3n),
      message(Opcode.LOOKUP, 1, name("missing"), 5n | (1n << 63n)),
    );
    for (let i = 0; i < 4; i++) session.step();
    expect(settled).toBe(0);
    found();
    await new Promise(setImmediate);
    expect(settled).toBe(1);
  });

  it("forgets answers that are owed to nobody: in each turn those of its own, when all is quiet the others' (trap 4b)", async () => {
    const channel = new ScriptedChannel();
    const told: boolean[] = [];
    let found = (): void => undefined;
    const lookup = () => new Promise<undefined>((resolve) => (found = () => resolve(undefined)));
    const fs = only({ lookup, answered: (all) => void told.push(all) });
    const session = new Session(channel, fs, strict());
    session.resend();
    channel.requests.push(message(Opcode.LOOKUP, 1, name("missing"), 5n | (1n << 63n)));
    for (let turn = 0; turn < 2; turn++) {
      session.beginTurn();
      session.step();
    }
    expect(told).toEqual([false, false]);
    found();
    await new Promise(setImmediate);
    session.beginTurn();
    session.step();
    expect(told).toEqual([false, false, false, true]);
  });

  it("is refused where the kernel does not send requests again", () => {
    expect(() => takenOver(-Errno.EINVAL).resend()).toThrow(/does not resend/);
  });
});
