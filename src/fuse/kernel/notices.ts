// What we tell the kernel of our own accord about an inode. It may take such a message only after we have answered requests of its
// own, and until then it lets go of the thread that brings it for nothing, not even a kill: so the one that serves never does it, and
// in a mount that outlives its workers no thread of a worker does, since a process is gone only when all its threads are.
// One at a time: each takes a thread that answers may need.

import { write } from "node:fs";
import { Errno } from "../../base/errno.ts";
import { writeU64 } from "../../base/integers.ts";
import { Notification } from "./abi.ts";
import { InvalidateInode, OutHeader } from "./structures.ts";

/** Sends a message to the kernel; resolves with a negative errno if that fails. */
export type Send = (message: Uint8Array) => Promise<number>;

/** To drop the pages of a file the kernel writes those back that it kept. */
const ALL_PAGES = 0;
/** Only the attributes. */
const NO_PAGES = -1;

function invalidation(ino: number, from: typeof ALL_PAGES | typeof NO_PAGES): Uint8Array {
  const message = new Uint8Array(OutHeader.sizeBytes + InvalidateInode.sizeBytes);
  const view = new DataView(message.buffer);
  view.setUint32(OutHeader.len, message.length, true);
  view.setInt32(OutHeader.error, Notification.INVALIDATE_INODE, true);
  writeU64(view, OutHeader.sizeBytes + InvalidateInode.ino, ino);
  if (from < 0)
    message.fill(0xff, OutHeader.sizeBytes + InvalidateInode.off, OutHeader.sizeBytes + InvalidateInode.off + 8);
  return message;
}

/** Sends messages to the kernel behind an open /dev/fuse, from a thread of libuv. */
export function sender(fuseFd: number): Send {
  return (message) => new Promise((resolve) => write(fuseFd, message, (error) => resolve(error?.errno ?? 0)));
}

export class Notices {
  readonly #send: Send;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Resolves when what the kernel kept of a file's content has been written to us; after `close`, never. */
  async writeBack(ino: number): Promise<void> {
    await this.#queue(invalidation(ino, ALL_PAGES));
  }

  /** What the kernel knows of the attributes of an inode holds no more; resolves when it knows that. Never resolves after `close`. */
  async attributesChanged(ino: number): Promise<void> {
    await this.#queue(invalidation(ino, NO_PAGES));
  }

  /** Whether the kernel holds an inode of this number. Never resolves after `close`. */
  async isHeld(ino: number): Promise<boolean> {
    return (await this.#queue(invalidation(ino, NO_PAGES))) !== -Errno.ENOENT;
  }

  /** Begins no other one; resolves when the one under way is over. Until then requests must be answered. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  #queue(message: Uint8Array): Promise<number> {
    const sent = this.#last.then(() => (this.#closed ? undefined : this.#send(message)));
    this.#last = sent;
    return sent.then((result) => result ?? new Promise<never>(() => undefined));
  }
}
