// The devices of a mount stay locked from one worker to the next (I11, trap 4c): a worker passes the descriptor of
// each device it opens to the supervisor, which keeps it and hands it to the next worker. What a dying worker sent arrives
// nevertheless. The supervisor itself never touches a device. Descriptors of devices are closed in a thread each: closing one of a
// filesystem that hangs waits for that. A row may have hundreds of nodes there: half of the threads are left to others.

import { close, closeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { Gate } from "../device/gate.ts";
import type { DescriptorKeeper } from "../device/kept.ts";
import { receiveDescriptor, sendDescriptor, socketPair } from "../fuse/kernel/descriptor-socket.ts";

const dup = koffi.load(null).func("int dup(int fd)") as (fd: number) => number;

/** What the messages say: the first word, before the identity of a device. */
const OPENED = "opened ";
const CLOSED = "closed ";
/** A descriptor that takes longer to close belongs to a device that hangs. */
const CLOSE_MS_MAX = 2000;

/** Both supervisor and worker have twice as many threads. */
const closes = new Gate(32);

/** Resolves when it is closed. */
function closeInThread(fd: number): Promise<void> {
  return closes.run(() => new Promise((resolve) => close(fd, () => resolve())));
}

/** The supervisor's side: holds what workers sent. */
export class KeptDevices {
  /** Handed to each worker. */
  readonly socketFd: number;
  readonly #socket: number;
  readonly #held = new Map<string, number>();
  readonly #closing = new Set<Promise<void>>();

  /** Throws SystemError. */
  constructor() {
    [this.#socket, this.socketFd] = socketPair(true);
  }

  /** Takes in what workers sent until now; true when some device is held no longer. */
  receive(): boolean {
    let released = false;
    for (;;) {
      // Not closed by the start of a program: closing a file of a filesystem that hangs waits for it, and so would we.
      const message = receiveDescriptor(this.#socket, false, true);
      if (message === undefined) return released;
      const { words, fd } = message;
      const identity = words.slice(OPENED.length);
      const before = this.#held.get(identity);
      if (before !== undefined) this.#close(before);
      if (words.startsWith(OPENED) && fd !== undefined) this.#held.set(identity, fd);
      else {
        released = this.#held.delete(identity) || released;
        if (fd !== undefined) this.#close(fd);
      }
    }
  }

  #close(fd: number): void {
    const closing = closeInThread(fd).then(() => void this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Resolves when what was let go of until now is closed, or hangs. */
  async closed(): Promise<void> {
    await Promise.race([Promise.all(this.#closing), sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
  }

  /** Identity and descriptor of every device held. */
  get held(): readonly (readonly [string, number])[] {
    return [...this.#held];
  }

  /** What programs that are started now inherit, whether they want it or not: they are to close it (see closeInherited). */
  get inherited(): readonly number[] {
    return [...this.#held.values()];
  }

  /** Lets go of everything; `closed` tells when it is free. */
  close(): void {
    this.receive();
    for (const fd of this.#held.values()) this.#close(fd);
    this.#held.clear();
    for (const fd of [this.#socket, this.socketFd]) closeSync(fd);
  }
}

/** Name of the variable that tells a program which descriptors of devices it inherited. */
export const INHERITED_VARIABLE = "H2TS_INHERITED";

/** The worker's side of `inherited`: lets go of them. */
export function closeInherited(environment: NodeJS.ProcessEnv): void {
  for (const fd of (environment[INHERITED_VARIABLE] ?? "").split(" ")) if (fd !== "") void closeInThread(Number(fd));
}

/**
 * The worker's side. Until `settle`, a device that is closed stays with the supervisor: opening them all may take more than
 * one try.
 */
export class DeviceSender implements DescriptorKeeper {
  readonly #socket: number;
  readonly #handed: Map<string, number>;
  readonly #open = new Set<string>();
  /** What the supervisor holds. */
  readonly #kept: Set<string>;
  /** What the supervisor was told to let go of. */
  readonly #released = new Set<string>();
  readonly #onSent: () => void;
  #settled = false;

  /** `handed`: what the supervisor held for this process. `onSent`: called after something was sent. */
  constructor(socket: number, handed: readonly (readonly [string, number])[], onSent: () => void) {
    this.#socket = socket;
    this.#handed = new Map(handed);
    this.#kept = new Set(this.#handed.keys());
    this.#onSent = onSent;
  }

  takeOver(identity: string): number | undefined {
    const fd = this.#handed.get(identity);
    const own = fd === undefined ? -1 : dup(fd);
    return own < 0 ? undefined : own;
  }

  opened(identity: string, fd: number): void {
    this.#open.add(identity);
    if (!this.#kept.has(identity)) this.#send(identity, fd);
  }

  closing(identity: string): boolean {
    this.#open.delete(identity);
    if (this.#settled) this.#send(identity);
    return this.#settled;
  }

  hasReleased(identity: string): boolean {
    return this.#released.has(identity);
  }

  /** Everything is open that will be: the supervisor need not hold the rest any longer. */
  settle(): void {
    this.#settled = true;
    for (const identity of [...this.#kept]) if (!this.#open.has(identity)) this.#send(identity);
    for (const fd of this.#handed.values()) void closeInThread(fd);
    this.#handed.clear();
  }

  #send(identity: string, fd?: number): void {
    const [from, to] = fd === undefined ? [this.#kept, this.#released] : [this.#released, this.#kept];
    from.delete(identity);
    to.add(identity);
    try {
      sendDescriptor(this.#socket, (fd === undefined ? CLOSED : OPENED) + identity, fd);
    } catch {
      return; // Without a supervisor no worker follows, and the lock lives as long as we do.
    }
    this.#onSent();
  }
}
