// Takes requests off a channel one at a time, has them carried out and answers each exactly once.
//
// A result that is there at once is answered before the next request is read. One that is a promise keeps its request buffer until
// it settles; another buffer from a bounded pool takes its place. Whatever a handler throws becomes an errno: FsError its own,
// anything else EIO and a report to `onFault`. Malformed and unknown requests are answered EINVAL and ENOSYS.

import { Errno, FsError } from "../../base/errno.ts";
import type { FileSystemRequests } from "../../posix/requests.ts";
import { InitFlag, Notification } from "./abi.ts";
import type { Channel } from "./channel.ts";
import { ListingHabit } from "./listing-habit.ts";
import type { Negotiated } from "./negotiation.ts";
import type { Notices } from "./notices.ts";
import type { Operation, OperationContext } from "./operation.ts";
import { OPERATIONS } from "./operations.ts";
import { Reply } from "./reply.ts";
import { Request } from "./request.ts";
import { WriteBackErrors } from "./write-back-errors.ts";

/** Requests being carried out together at most; each holds a buffer. The kernel rarely sends more than a dozen (Limit.maxBackground). */
export const REQUESTS_IN_FLIGHT = 64;

/** What one step found: a request; none waiting; all buffers taken; the mount gone. */
export type Step = "served" | "idle" | "full" | "closed";

export interface SessionOptions {
  /** Told of everything thrown that is not an FsError, and of answers the kernel would not take. */
  readonly onFault: (error: unknown) => void;
  /** Given when a live mount is taken over: its INIT was answered by another process. */
  readonly negotiated?: Negotiated | undefined;
  /** Told what was agreed on before the kernel is. */
  readonly onNegotiated?: ((agreed: Negotiated) => void) | undefined;
  /** Told once that every request is answered which a process before us left unanswered. */
  readonly onSettled?: (() => void) | undefined;
  /** By which the kernel is told of inodes. */
  readonly notices: Notices;
}

export class Session implements OperationContext {
  readonly fs: FileSystemRequests;
  readonly habit = new ListingHabit();
  readonly writeBackErrors: WriteBackErrors;
  #negotiated: Negotiated | undefined;
  readonly #onNegotiated: (agreed: Negotiated) => void;
  readonly #channel: Channel;
  readonly #onFault: (error: unknown) => void;
  readonly #reply = new Reply();
  readonly #spare: Request[] = [new Request()];
  #buffers = 1;
  #inFlight = 0;
  #closed = false;
  #whenQuiet: (() => void)[] = [];
  /** Set while all buffers are taken and somebody waits for one. */
  #whenRoom: (() => void) | undefined;
  readonly #notices: Notices;
  readonly #onSettled: () => void;
  /** Requests sent again that are being carried out; the kernel sends them before all others that are answered. */
  #resentInFlight = 0;
  /** Waiting for those; no more once they are all answered. */
  #settling: "no" | "taking" | "answering" = "no";

  constructor(channel: Channel, fs: FileSystemRequests, options: SessionOptions) {
    this.#channel = channel;
    this.fs = fs;
    this.#onFault = options.onFault;
    this.#onNegotiated = options.onNegotiated ?? (() => undefined);
    this.#negotiated = options.negotiated;
    this.#notices = options.notices;
    this.writeBackErrors = new WriteBackErrors(fs, options.notices);
    this.#onSettled = options.onSettled ?? (() => undefined);
  }

  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  set negotiated(agreed: Negotiated | undefined) {
    this.#negotiated = agreed;
    if (agreed !== undefined) this.#onNegotiated(agreed);
  }

  /** Requests taken off the channel and not answered yet. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Resolves when no request is in flight. */
  quiet(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenQuiet.push(resolve));
  }

  /**
   * After a step that found all buffers taken: calls `then` when one is free. Until then nobody at all is served, so what is under way
   * may not take as long as it likes (I9).
   */
  whenRoom(then: () => void): void {
    const room = new Promise<void>((resolve) => {
      this.#whenRoom = () => {
        resolve();
        then();
      };
    });
    this.fs.holdsUp?.(room);
  }

  /**
   * Begins a turn of the event loop. What was carried out in turns before is answered: between the one and the other an operation
   * that can't be carried out twice waits for nothing but promises that are settled.
   */
  beginTurn(): void {
    this.fs.answered?.(false);
  }

  /** Reads one request and carries it out, or starts to. */
  step(): Step {
    if (this.#closed) return "closed";
    const request = this.#spareRequest();
    if (request === undefined) return "full";
    const lengthBytes = this.#channel.read(request.bytes);
    if (lengthBytes < 0) {
      this.#spare.push(request);
      return this.#readFailed(-lengthBytes);
    }
    // What has no whole header cannot be answered, and the kernel never sends it.
    if (!request.accept(lengthBytes)) this.#spare.push(request);
    else this.#carryOut(request);
    return "served";
  }

  /** Asks the kernel for every request again that it sent and that nobody has answered (after a worker died). */
  resend(): void {
    const result = this.#channel.write(this.#reply.bytes, this.#reply.notification(Notification.RESEND));
    // Unmounted while nobody served it: there is nothing left to answer, and the next step says so.
    if (-result === Errno.ENODEV) this.#closed = true;
    else if (result < 0)
      throw new FsError("EOPNOTSUPP", "the kernel does not resend FUSE requests (Linux 6.9 or later does)");
    this.#settling = "taking";
  }

  /** All requests sent again are taken off the channel. */
  #tookResent(): void {
    this.#settling = "answering";
    this.#checkSettled();
  }

  #checkSettled(): void {
    if (this.#settling !== "answering" || this.#resentInFlight > 0) return;
    this.#settling = "no";
    this.#onSettled();
  }

  /** The request is answered and needs its buffer no longer. */
  #release(request: Request): void {
    if (!request.isParked) this.#spare.push(request);
    if (this.#whenRoom !== undefined) this.#roomMade();
    if (!request.resent) return;
    this.#resentInFlight--;
    this.#checkSettled();
  }

  #roomMade(): void {
    const told = this.#whenRoom;
    this.#whenRoom = undefined;
    told?.();
  }

  /**
   * Puts a request aside until the kernel has written back what it keeps of the file. It gives its buffer to others, since those
   * are what it waits for, and it is not in flight: if we leave before that, the next process gets it again.
   */
  #park(request: Request, operation: Operation): void {
    const parked = request.parked();
    this.#spare.push(request);
    void this.#notices.writeBack(parked.nodeid).then(() => this.#run(parked, operation));
  }

  /** Last in, first out, so that few buffers stay warm and others are not made. */
  #spareRequest(): Request | undefined {
    const spare = this.#spare.pop();
    if (spare !== undefined || this.#buffers === REQUESTS_IN_FLIGHT) return spare;
    const request = new Request();
    this.#buffers++;
    return request;
  }

  #readFailed(errno: number): Step {
    switch (errno) {
      case Errno.EAGAIN:
        if (this.#inFlight === 0) this.fs.answered?.(true);
        if (this.#settling === "taking") this.#tookResent();
        return "idle";
      case Errno.EINTR:
      case Errno.ENOENT: // The request was withdrawn while we took it.
        return "served";
      case Errno.ENODEV: // Unmounted, or the connection was aborted.
        break;
      default:
        this.#onFault(new Error(`reading /dev/fuse failed with errno ${errno}`));
    }
    this.#closed = true;
    return "closed";
  }

  #carryOut(request: Request): void {
    const operation = OPERATIONS[request.opcode];
    if (request.resent) this.#resentInFlight++;
    // What has no answer (FORGET, INTERRUPT) comes out of queues of its own, and may come first.
    else if (this.#settling === "taking" && (operation === undefined || operation.encode !== undefined))
      this.#tookResent();
    if (operation === undefined) return this.#refuse(request, Errno.ENOSYS);
    if (request.bodyBytes < operation.bodyBytes) return this.#refuse(request, Errno.EINVAL);
    const keepsPages = ((this.#negotiated?.flags ?? 0) & InitFlag.WRITEBACK_CACHE) !== 0;
    if (operation.afterWriteBack === true && keepsPages) this.#park(request, operation);
    else this.#run(request, operation);
  }

  #run(request: Request, operation: Operation): void {
    let result: unknown;
    try {
      result = operation.run(this, request);
    } catch (error) {
      return this.#fail(request, operation, error);
    }
    if (result instanceof Promise) this.#await(request, operation, result);
    else this.#answer(request, operation, result);
  }

  #await(request: Request, operation: Operation, promise: Promise<unknown>): void {
    this.#inFlight++;
    const settled = (finish: () => void): void => {
      this.#inFlight--;
      finish();
      if (this.#inFlight === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve();
    };
    promise.then(
      (value) => settled(() => this.#answer(request, operation, value)),
      (error: unknown) => settled(() => this.#fail(request, operation, error)),
    );
  }

  #answer(request: Request, operation: Operation, value: unknown): void {
    if (operation.encode !== undefined) {
      let bodyBytes: number;
      try {
        bodyBytes = operation.encode(this.#reply, value, request);
      } catch (error) {
        return this.#fail(request, operation, error);
      }
      if (bodyBytes < 0) return this.#refuse(request, -bodyBytes);
      if (!this.#send(request, 0, bodyBytes)) operation.undelivered?.(this, value, request);
    }
    this.#release(request);
  }

  #fail(request: Request, operation: Operation, error: unknown): void {
    if (!(error instanceof FsError)) this.#onFault(error);
    if (operation.encode === undefined) this.#release(request);
    else this.#refuse(request, error instanceof FsError ? error.errno : Errno.EIO);
  }

  #refuse(request: Request, errno: number): void {
    this.#send(request, errno, 0);
    this.#release(request);
  }

  /** False when nobody waits for this answer any more. */
  #send(request: Request, errno: number, bodyBytes: number): boolean {
    const lengthBytes = this.#reply.header(request, errno, bodyBytes);
    const result = this.#channel.write(this.#reply.bytes, lengthBytes);
    if (result >= 0) return true;
    if (-result === Errno.ENODEV) this.#closed = true;
    else if (-result !== Errno.ENOENT) {
      this.#onFault(new Error(`the kernel refused the answer to FUSE opcode ${request.opcode} with errno ${-result}`));
      if (errno === 0) this.#send(request, Errno.EIO, 0);
    }
    return false;
  }
}
