// A session of the kernel transport without a kernel: requests are written by hand into a list, answers read back from one.

import { expect } from "vitest";
import { NullRequests } from "../../bench/null-requests.ts";
import { Errno } from "../../src/base/errno.ts";
import { InitFlag } from "../../src/fuse/kernel/abi.ts";
import type { Channel } from "../../src/fuse/kernel/channel.ts";
import { Notices } from "../../src/fuse/kernel/notices.ts";
import { Session, type SessionOptions } from "../../src/fuse/kernel/session.ts";
import type { FileSystemRequests } from "../../src/posix/requests.ts";

export interface Answer {
  readonly unique: bigint;
  readonly error: number;
  readonly body: Buffer;
}

export class ScriptedChannel implements Channel {
  readonly requests: Uint8Array[] = [];
  readonly answers: Answer[] = [];
  writeResult: number | undefined;

  read(into: Uint8Array): number {
    const next = this.requests.shift();
    if (next === undefined) return -Errno.EAGAIN;
    into.set(next);
    return next.length;
  }

  write(from: Uint8Array, lengthBytes: number): number {
    if (this.writeResult !== undefined) return this.writeResult;
    const bytes = Buffer.from(from.slice(0, lengthBytes));
    expect(bytes.readUInt32LE(0)).toBe(lengthBytes);
    this.answers.push({ unique: bytes.readBigUInt64LE(8), error: bytes.readInt32LE(4), body: bytes.subarray(16) });
    return lengthBytes;
  }
}

export function message(
  opcode: number,
  nodeid: number,
  body: Uint8Array,
  unique = 7n,
  extensions = Buffer.alloc(0),
): Buffer {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length + extensions.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(unique, 8);
  header.writeBigUInt64LE(BigInt(nodeid), 16);
  header.writeUInt32LE(1000, 24);
  header.writeUInt32LE(1001, 28);
  header.writeUInt32LE(4242, 32);
  header.writeUInt16LE(extensions.length / 8, 36);
  return Buffer.concat([header, body, extensions]);
}

export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
}

export const WRITING_BACK = { minor: 45, flags: InitFlag.WRITEBACK_CACHE, flags2: 0, maxReadaheadBytes: 0 };

export const name = (text: string): Buffer => Buffer.from(`${text}\0`, "latin1");

export const strict = (): SessionOptions => ({
  onFault: (error) => expect.fail(String(error)),
  notices: new Notices(() => Promise.resolve(0)),
});

export function session(fs: FileSystemRequests, options?: Partial<SessionOptions>) {
  const channel = new ScriptedChannel();
  const faults: unknown[] = [];
  const served = new Session(channel, fs, { ...strict(), onFault: (error) => faults.push(error), ...options });
  const ask = (request: Buffer): Answer | undefined => {
    const before = channel.answers.length;
    channel.requests.push(request);
    expect(served.step()).toBe("served");
    return channel.answers[before];
  };
  return { channel, faults, served, ask };
}

/** A filesystem that does nothing but what is given. */
export function only(methods: Partial<FileSystemRequests>): FileSystemRequests {
  return Object.assign(new NullRequests(), methods);
}
