// The devices of a mount stay locked from one worker to the next (I11, trap 4c): a worker passes the descriptor of
// each device it opens to the supervisor, which keeps it and hands it to the next worker. What a dying worker sent arrives
// nevertheless. The supervisor itself never touches a device. Descriptors of devices are closed in a thread each: closing one of a
// filesystem that hangs waits for that. A row may have hundreds of nodes there: half of the threads are left to others.

import { close, closeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { Gate } from "../device/gate.ts";
import type { DescriptorKeeper } from "../device/kept.ts";
import { unlock } from "../device/system-calls.ts";
import { receiveDescriptor, sendDescriptor, socketPair } from "../fuse/kernel/descriptor-socket.ts";

const dup = koffi.load(null).func("int dup(int fd)") as (fd: number) => number;

/** What the messages say: the first word, before the identity of a device. */
const OPENED = "opened ";
const CLOSED = "closed ";
/** The supervisor may have made room in the socket by then. */
const TELL_AGAIN_MS = 5;
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
 * one try. Nobody waits for the supervisor: what the socket has no room for is told later.
 */
export class DeviceSender implements DescriptorKeeper {
  readonly #socket: number;
  /** Of devices that are not open here, for the next try. */
  readonly #handed: Map<string, number>;
  readonly #open = new Map<string, number>();
  /** What the supervisor holds, once it is told. */
  readonly #kept: Set<string>;
  /** What the supervisor is to let go of, or has. */
  readonly #released = new Set<string>();
  /** Those of which the supervisor does not know yet that they are open, or no longer. */
  readonly #untold = new Set<string>();
  #telling: NodeJS.Timeout | undefined;
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
    this.#open.set(identity, fd);
    const handed = this.#handed.get(identity);
    // A row has hundreds of nodes, and a process may not have twice as many descriptors.
    if (handed !== undefined) void closeInThread(handed);
    this.#handed.delete(identity);
    if (!this.#kept.has(identity)) this.#tell(identity);
  }

  closing(identity: string): boolean {
    const fd = this.#open.get(identity);
    this.#open.delete(identity);
    if (this.#settled) this.#tell(identity);
    else if (this.#untold.delete(identity)) this.#kept.delete(identity);
    else if (fd !== undefined) this.#keepForNextTry(identity, fd);
    return this.#settled || !this.#kept.has(identity);
  }

  #keepForNextTry(identity: string, fd: number): void {
    const own = dup(fd);
    if (own >= 0) this.#handed.set(identity, own);
  }

  hasReleased(identity: string): boolean {
    return this.#released.has(identity);
  }

  /** Everything is open that will be: the supervisor need not hold the rest any longer. Resolves when that is free for others, or hangs. */
  async settle(): Promise<void> {
    this.#settled = true;
    for (const identity of [...this.#kept]) if (!this.#open.has(identity)) this.#tell(identity);
    const left = [...this.#handed.values()];
    this.#handed.clear();
    // The supervisor closes its own when it comes to it: the locks would last until then.
    const free = Promise.allSettled(left.map((fd) => unlock(fd).finally(() => closeInThread(fd))));
    await Promise.race([free, sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
  }

  #tell(identity: string): void {
    const [from, to] = this.#open.has(identity) ? [this.#released, this.#kept] : [this.#kept, this.#released];
    from.delete(identity);
    to.add(identity);
    this.#untold.add(identity);
    if (this.#telling === undefined) this.#tellAll();
  }

  #tellAll(): void {
    this.#telling = undefined;
    for (const identity of this.#untold) {
      const fd = this.#open.get(identity);
      try {
        if (!sendDescriptor(this.#socket, (fd === undefined ? CLOSED : OPENED) + identity, fd)) {
          this.#telling = setTimeout(() => this.#tellAll(), TELL_AGAIN_MS).unref();
          break;
        }
      } catch {
        // Without a supervisor no worker follows, and the lock lives as long as we do.
      }
      this.#untold.delete(identity);
    }
    this.#onSent();
  }
}
