// Descriptors on their way from the supervisor to a worker. They travel when the worker is to start work, not when its process
// starts: a spare one waits without them, so it does not hold the mount, and the lock of a device no longer than it takes to load.
// A socket has room for some 270 messages, and a mount may have 2040 devices: the rest follows as the worker reads, which the
// supervisor never waits for. One message for each descriptor, as all versions have it: an upgrade may bring an older worker.

import { closeSync } from "node:fs";
import { receiveDescriptor, sendDescriptor, socketPair } from "../fuse/kernel/descriptor-socket.ts";

/** The worker may have made room by then. */
const SEND_AGAIN_MS = 5;

/** What the descriptors that every worker needs are called. All others are devices, by their identity. */
export const HANDED = { fuse: "/dev/fuse", memory: "memory", keeper: "keeper" } as const;

/** The supervisor's side, for one worker. */
export class HandOver {
  /** For the worker to inherit. */
  readonly theirs: number;
  readonly #ours: number;
  #closed = false;
  #passedOn = false;

  /** Throws SystemError. */
  constructor() {
    [this.#ours, this.theirs] = socketPair(true);
  }

  /** The worker has its end. */
  passedOn(): void {
    if (!this.#passedOn) closeSync(this.theirs);
    this.#passedOn = true;
  }

  /** Sends all there will ever be, those that every worker needs first: at once what there is room for, the rest in a while. */
  give(descriptors: readonly (readonly [name: string, fd: number])[]): void {
    if (this.#closed) return;
    for (const [i, [name, fd]] of descriptors.entries()) {
      if (this.#hasRoomFor(name, fd)) continue;
      setTimeout(() => this.give(descriptors.slice(i)), SEND_AGAIN_MS);
      return;
    }
    this.close();
  }

  #hasRoomFor(name: string, fd: number): boolean {
    try {
      return sendDescriptor(this.#ours, name, fd);
    } catch {
      // The worker is gone, which its end tells; or it misses this one, and does what it can without.
      return true;
    }
  }

  close(): void {
    this.passedOn();
    if (!this.#closed) closeSync(this.#ours);
    this.#closed = true;
  }
}

/**
 * The worker's side: what was given, by name. Waits until the supervisor has sent it all. One may get lost on the way, as when this
 * process may not have more of them.
 */
export function receiveHanded(socketFd: number): Map<string, number> {
  const handed = new Map<string, number>();
  for (;;) {
    const message = receiveDescriptor(socketFd, true);
    if (message === undefined) break;
    const { words, fd } = message;
    if (fd === undefined) console.error(`worker: the descriptor of ${words} did not arrive`);
    else handed.set(words, fd);
  }
  closeSync(socketFd);
  return handed;
}
