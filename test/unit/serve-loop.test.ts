// The loop that serves a session: what it does while every request buffer is taken, and when it can't go on.

import { expect, it } from "vitest";
import { NullRequests } from "../../bench/null-requests.ts";
import { Errno } from "../../src/base/errno.ts";
import { Opcode } from "../../src/fuse/kernel/abi.ts";
import type { Channel } from "../../src/fuse/kernel/channel.ts";
import { ServeLoop } from "../../src/fuse/kernel/loop.ts";
import { Notices } from "../../src/fuse/kernel/notices.ts";
import { REQUESTS_IN_FLIGHT, Session } from "../../src/fuse/kernel/session.ts";
import { InHeader, OutHeader, ReadIn } from "../../src/fuse/kernel/structures.ts";
import type { FileSystemRequests, ReadResult } from "../../src/posix/requests.ts";

/** Requests that wait, and the unique ids of those answered. */
class Waiting implements Channel {
  readonly requests: Uint8Array[] = [];
  readonly answered: number[] = [];
  looks = 0;

  read(into: Uint8Array): number {
    this.looks++;
    const next = this.requests.shift();
    if (next === undefined) return -Errno.EAGAIN;
    into.set(next);
    return next.length;
  }

  write(from: Uint8Array, lengthBytes: number): number {
    this.answered.push(Buffer.from(from.buffer).readUInt32LE(OutHeader.unique));
    return lengthBytes;
  }
}

function request(opcode: number, unique: number, bodyBytes = 16): Uint8Array {
  const bytes = Buffer.alloc(InHeader.sizeBytes + bodyBytes);
  bytes.writeUInt32LE(bytes.length, InHeader.len);
  bytes.writeUInt32LE(opcode, InHeader.opcode);
  bytes.writeUInt32LE(unique, InHeader.unique);
  return bytes;
}

function served(channel: Channel, methods: Partial<FileSystemRequests>) {
  const fs: FileSystemRequests = Object.assign(new NullRequests(), methods);
  const onFault = (error: unknown): void => expect.fail(String(error));
  const session = new Session(channel, fs, { onFault, notices: new Notices(() => Promise.resolve(0)) });
  const woken: string[] = [];
  const waking = { pause: () => void woken.push("pause"), resume: () => void woken.push("resume") };
  return { loop: new ServeLoop(session, waking), woken };
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

it("rests while all buffers are taken, and says that everybody waits (I9)", async () => {
  const reads: ((result: ReadResult) => void)[] = [];
  const heldUp: Promise<void>[] = [];
  let begun = 0;
  const channel = new Waiting();
  const { loop, woken } = served(channel, {
    read: () => new Promise((resolve) => reads.push(resolve)),
    answered: () => void begun++,
    holdsUp: (until) => void heldUp.push(until),
  });
  for (let i = 0; i < REQUESTS_IN_FLIGHT; i++) channel.requests.push(request(Opcode.READ, i, ReadIn.sizeBytes));
  channel.requests.push(request(Opcode.GETATTR, 1000));
  const ended = loop.run();
  while (heldUp.length === 0) await turns(1);
  const before = [begun, channel.looks];
  await turns(100);
  expect([begun, channel.looks]).toEqual(before);
  expect([channel.answered, woken]).toEqual([[], ["pause"]]);

  reads[5]?.({ pieces: [], lengthBytes: 0 });
  await heldUp[0];
  await turns(5);
  expect([channel.answered, woken]).toEqual([
    [5, 1000],
    ["pause", "resume"],
  ]);
  loop.stop();
  await ended;
});

it("ends when it can't go on, so that somebody else does", async () => {
  const channel = new Waiting();
  channel.read = () => {
    throw new RangeError("Array buffer allocation failed");
  };
  await expect(served(channel, {}).loop.run()).rejects.toThrow("allocation failed");
});
