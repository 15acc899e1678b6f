// A worker in reserve: a process that has loaded its program and waits, so that programs on the mount do not wait for that when
// the worker dies. It is handed nothing of the mount before (see hand-over.ts), and closes what it inherited (see kept-devices.ts). There
// is none where no worker can follow another one, nor shortly after one began to serve: a mount that is short-lived, or whose workers die
// at once, costs no second process.

import { settleDown } from "../base/idle-memory.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** From the beginning of service to the start of the spare: what was left unanswered is answered first. */
export const PREPARE_AFTER_MS = 1500;
/** Until the new process has loaded its program, and the supervisor has nothing to do with it. */
const SETTLE_AFTER_MS = 2000;

export class SpareWorker {
  readonly #start: (program: string) => WorkerProcess | undefined;
  #worker: WorkerProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** `start` gives none where the system lacks something for it. */
  constructor(start: (program: string) => WorkerProcess | undefined) {
    this.#start = start;
  }

  /** Its process, while there is one. */
  get pid(): number | undefined {
    return this.#worker === undefined || this.#worker.isGone ? undefined : this.#worker.pid;
  }

  /** Starts one that runs `program`, in a while. One that dies is not replaced before the worker is. */
  prepare(program: string): void {
    this.#later(PREPARE_AFTER_MS, () => {
      if (this.pid === undefined) this.#worker = this.#start(program);
      this.#later(SETTLE_AFTER_MS, settleDown);
    });
  }

  /** The spare, if there is one: now the caller's. */
  take(): WorkerProcess | undefined {
    clearTimeout(this.#timer);
    const worker = this.#worker;
    this.#worker = undefined;
    return worker?.isGone === false ? worker : undefined;
  }

  /** Puts `worker` in the place of the spare, which is the caller's then. */
  exchange(worker: WorkerProcess | undefined): WorkerProcess | undefined {
    const before = this.take();
    this.#worker = worker;
    return before;
  }

  /**
   * Another one takes its place, in a while, if there is one: it inherited what nobody is to hold any more, and may not have come
   * to closing it. Resolves as `discard`.
   */
  async renew(program: string): Promise<void> {
    if (this.#worker === undefined) return;
    const gone = this.discard();
    this.prepare(program);
    await gone;
  }

  /** Ends it. Resolves when it is gone; or after a moment, when it does not end because a device hangs that it was closing. */
  async discard(): Promise<void> {
    await this.take()?.kill();
  }

  /** As `discard`, and there will be none any more. */
  close(): Promise<void> {
    this.#closed = true;
    return this.discard();
  }

  #later(ms: number, work: () => void): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(work, ms).unref();
  }
}
