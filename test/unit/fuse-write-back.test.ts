// What a program is told that goes on writing to a file of which something could not be written back.

import { describe, expect, it } from "vitest";
import { NullRequests } from "../../bench/null-requests.ts";
import { Errno, FsError } from "../../src/base/errno.ts";
import { Opcode } from "../../src/fuse/kernel/abi.ts";
import { Notices } from "../../src/fuse/kernel/notices.ts";
import { message, only, session, words, WRITING_BACK } from "./fuse-messages.ts";

describe("what could not be written back", () => {
  const GETATTR_BY_FILE = words(1, 0, 0, 0);
  const writing = (...flags: number[]): Buffer =>
    Buffer.concat([words(0, 0, 0, 0, 1, ...flags, 0, 0, 0, 0), Buffer.from("x")]);
  const [CACHED, DIRECT] = [writing(1), writing(0)] as const;

  function failing(code: "ENOSPC" | "EROFS" | "EFBIG" | "EIO", room = { blocksAvailable: 10 }) {
    const told: Buffer[] = [];
    const fs = only({
      write: (ino) => {
        if (ino === 9) throw new FsError(code);
        return Promise.reject(new FsError(code));
      },
      getAttributes: () => new NullRequests().getAttributes(1),
      setAttributes: () => new NullRequests().getAttributes(1),
      statistics: () => ({ ...new NullRequests().statistics(), ...room }),
    });
    const notices = new Notices((notice) => Promise.resolve(told.push(Buffer.from(notice))));
    return { told, ...session(fs, { negotiated: WRITING_BACK, notices }) };
  }

  it.each([9, 10])("is told to the next write, once, and to no stat (inode %i)", async (ino) => {
    const { ask, channel, served, told } = failing("EROFS");
    ask(message(Opcode.WRITE, ino, CACHED));
    await served.quiet();
    await new Promise(setImmediate);
    expect(channel.answers.map(({ error }) => error)).toEqual([-Errno.EROFS]);
    // Of its attributes the kernel knows nothing any more; its pages stay.
    expect(told.map((notice) => [notice.readInt32LE(4), notice.readUInt8(16), notice.readBigInt64LE(24)])).toEqual([
      [2, ino, -1n],
    ]);
    expect(ask(message(Opcode.GETATTR, ino, words(0, 0, 0, 0)))?.error).toBe(0);
    expect(ask(message(Opcode.GETATTR, 11, GETATTR_BY_FILE))?.error).toBe(0);
    expect(ask(message(Opcode.GETATTR, ino, GETATTR_BY_FILE))?.error).toBe(-Errno.EROFS);
    expect(ask(message(Opcode.GETATTR, ino, GETATTR_BY_FILE))?.error).toBe(0);
  });

  it("is told by the kernel to whoever calls fsync, and to nobody else then", () => {
    const { ask } = failing("EROFS");
    ask(message(Opcode.WRITE, 9, CACHED));
    ask(message(Opcode.FSYNC, 9, Buffer.alloc(16)));
    expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(0);
  });

  it.each(["EFBIG", "EIO"] as const)(
    "is no later write's where it is %s, which concerns a place in the file",
    (code) => {
      const { ask, told } = failing(code);
      expect(ask(message(Opcode.WRITE, 9, CACHED))?.error).toBe(-Errno[code]);
      expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(0);
      expect(told).toEqual([]);
    },
  );

  it("counts no more once the file was cut off: that may have made room", () => {
    const { ask } = failing("ENOSPC");
    ask(message(Opcode.WRITE, 9, CACHED));
    const size = Buffer.alloc(88);
    size.writeUInt32LE(1 << 3, 0);
    expect(ask(message(Opcode.SETATTR, 9, size))?.error).toBe(0);
    expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(0);
  });

  it("is answered at once to a write that is not kept", () => {
    const { ask, told } = failing("ENOSPC");
    expect(ask(message(Opcode.WRITE, 9, DIRECT))?.error).toBe(-Errno.ENOSPC);
    expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(0);
    expect(told).toEqual([]);
  });

  it("for want of room is told while there is no more of it", () => {
    const room = { blocksAvailable: 10 };
    const { ask } = failing("ENOSPC", room);
    ask(message(Opcode.WRITE, 9, CACHED));
    expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(-Errno.ENOSPC);
    ask(message(Opcode.WRITE, 9, CACHED));
    room.blocksAvailable++;
    expect(ask(message(Opcode.GETATTR, 9, GETATTR_BY_FILE))?.error).toBe(0);
  });
});
