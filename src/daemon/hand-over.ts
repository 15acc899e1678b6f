// Descriptors on their way from the supervisor to a worker. They travel when the worker is to start work, not when its process
// starts: a spare one waits without them, so it does not hold the mount, and the lock of a device no longer than it takes to load.

import { closeSync } from "node:fs";
import { receiveDescriptor, sendDescriptor, socketPair } from "../fuse/kernel/descriptor-socket.ts";

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

  /**
   * Sends all there will ever be, up to the first that can't be sent: who gets the last one has them all. A worker that is gone gets
   * nothing, which its end tells.
   */
  give(descriptors: Iterable<readonly [name: string, fd: number]>): void {
    try {
      for (const [name, fd] of descriptors) sendDescriptor(this.#ours, name, fd);
    } catch {
      // The worker misses what did not come, says so and ends.
    }
    this.close();
  }

  close(): void {
    this.passedOn();
    if (!this.#closed) closeSync(this.#ours);
    this.#closed = true;
  }
}

/**
 * The worker's side: everything that was given, by name. Waits until the supervisor has sent it all. Undefined when a descriptor got
 * lost on the way, as when this process may not have more of them.
 */
export function receiveHanded(socketFd: number): Map<string, number> | undefined {
  const handed = new Map<string, number>();
  for (;;) {
    const message = receiveDescriptor(socketFd, true);
    if (message === undefined) break;
    if (message.fd === undefined) return undefined;
    handed.set(message.words, message.fd);
  }
  closeSync(socketFd);
  return handed;
}
