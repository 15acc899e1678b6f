// The requests of a node: each lives here until it is answered, over as many connections as that takes, and a write until a flush
// covers it. Nothing here knows of connections; whoever does sends what is pending in the order it was asked for.
// Invariant I1: an acknowledged flush covers every write answered before, whatever the server lost meanwhile.

import { assert } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import { ContentLostError, DeviceError, type DeviceOperation } from "../../device/device.ts";
import type { Extent } from "../wire/chunk.ts";
import { Command, CommandFlag, TransmissionFlag } from "../wire/constants.ts";
import { FramePool } from "./frames.ts";
import type { NodeIdentity } from "./identity.ts";
import { KeptWrites } from "./kept-writes.ts";
import { operationOf } from "./link-state.ts";
import { offers, type Terms } from "./terms.ts";
import {
  type Asked,
  changes,
  plainTransaction,
  type Transaction,
  type Write,
  writeTransaction,
  zeroTransaction,
} from "./transaction.ts";

export interface RequestsOptions {
  /** What the operator calls the node. */
  readonly name: string;
  readonly clock: Clock;
  readonly terms: Terms;
  readonly identity: NodeIdentity;
  /** So many bytes of writes may be answered and not flushed. */
  readonly keptBytesMax: number;
  /** There is a new one to be sent, if it can be; `isFirst`: nothing else waits. */
  readonly onAsked: (transaction: Transaction, isFirst: boolean) => void;
  /** The server answered one. */
  readonly onAnswered: () => void;
  /** The server could not flush. */
  readonly onFlushFailed: (error: string) => void;
}

export class Requests {
  readonly #options: RequestsOptions;
  readonly #pool = new FramePool();
  /** Without an answer, in the order they were asked for. */
  readonly #pending = new Map<number, Transaction>();
  readonly #idle: (() => void)[] = [];
  readonly kept: KeptWrites;
  #newestFlushed: Write | undefined;
  #forced: Promise<void> | undefined;
  #failure: DeviceError | undefined;
  #closed = false;
  #cookie = 0;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.kept = new KeptWrites((write) => {
      this.#newestFlushed = write;
      this.#pool.give(write.frame);
    });
  }

  /** Those without an answer, in the order they were asked for. */
  get pending(): Iterable<Transaction> {
    return this.#pending.values();
  }

  get count(): number {
    return this.#pending.size;
  }

  /** When the oldest of them was asked for; undefined when there is none. */
  get oldestMs(): number | undefined {
    return this.#pending.values().next().value?.startedMs;
  }

  /** Something is to be written, or written again. */
  get oweWrites(): boolean {
    return this.kept.count > 0 || [...this.#pending.values()].some(changes);
  }

  /** Something without an answer changes a part of the range. */
  isChanging(offsetBytes: number, lengthBytes: number): boolean {
    return [...this.#pending.values()].some(
      (other) =>
        changes(other) &&
        other.offsetBytes < offsetBytes + lengthBytes &&
        offsetBytes < other.offsetBytes + other.lengthBytes,
    );
  }

  /** One that no request has. */
  nextCookie(): number {
    do this.#cookie = (this.#cookie + 1) >>> 0;
    while (this.#pending.has(this.#cookie));
    return this.#cookie;
  }

  // ---- asking

  /** Fills the targets. Offsets and lengths are as the terms want them. Rejects with DeviceError, as all requests do. */
  read(offsetBytes: number, lengthBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    return this.#ask(Command.READ, offsetBytes, lengthBytes, (asked) =>
      plainTransaction(asked, Command.READ, 0, targets),
    );
  }

  write(offsetBytes: number, lengthBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    return this.#change(Command.WRITE, offsetBytes, lengthBytes, (asked, flags) =>
      writeTransaction(asked, flags, sources, this.#pool),
    );
  }

  /** Makes a range read as zero; for servers that can. `keepRoom`: no hole is made of it. */
  zero(offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void> {
    return this.#change(Command.WRITE_ZEROES, offsetBytes, lengthBytes, (asked, flags) =>
      zeroTransaction(asked, keepRoom ? flags | CommandFlag.NO_HOLE : flags, this.#pool),
    );
  }

  /** A request that is kept until a flush covers it. */
  #change(
    command: number,
    offsetBytes: number,
    lengthBytes: number,
    make: (asked: Asked, flags: number) => Write,
  ): Promise<void> {
    const { keptBytesMax, identity, terms } = this.#options;
    if (this.kept.bytes >= keptBytesMax)
      return this.#forceFlush().then(() => this.#change(command, offsetBytes, lengthBytes, make));
    const canFlush = offers(terms, TransmissionFlag.SEND_FLUSH);
    const made = (asked: Asked): Write => {
      const write = make(asked, canFlush ? 0 : CommandFlag.FUA);
      identity.written(write);
      return write;
    };
    return this.#ask(command, offsetBytes, lengthBytes, made, (write, error) => {
      if (error !== undefined || !canFlush) return this.#pool.give(write.frame);
      this.kept.add(write);
      if (this.kept.bytes >= keptBytesMax / 2) this.#forceFlush().catch(() => undefined);
    });
  }

  /** Makes every write that was answered durable. A server without FLUSH has made each durable before it answered. */
  async flush(): Promise<void> {
    if (!offers(this.#options.terms, TransmissionFlag.SEND_FLUSH)) {
      const ended = this.#ended("flush", 0);
      if (ended !== undefined) throw ended;
      return;
    }
    const covered = this.kept.lastNumber;
    const made = (asked: Asked): Transaction => plainTransaction(asked, Command.FLUSH);
    await this.#ask(Command.FLUSH, 0, 0, made, (_, error) => {
      if (error === undefined) this.flushed(covered);
      // Asked again, a server may say that all is well, having forgotten what it could not keep.
      else if (this.#ended("flush", 0) === undefined) this.#options.onFlushFailed(error);
    });
  }

  /** A hint, for servers that take it. */
  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!offers(this.#options.terms, TransmissionFlag.SEND_TRIM)) return;
    this.#options.identity.discarded(offsetBytes, lengthBytes);
    await this.#ask(Command.TRIM, offsetBytes, lengthBytes, (asked) => plainTransaction(asked, Command.TRIM));
  }

  /** Where holes are, from the beginning of the range; nothing where the server does not tell. */
  async extents(offsetBytes: number, lengthBytes: number): Promise<readonly Extent[]> {
    if (this.#options.terms.allocationContext === undefined) return [];
    let found: readonly Extent[] = [];
    const tell = (extents: readonly Extent[]): void => void (found = extents);
    await this.#ask(Command.BLOCK_STATUS, offsetBytes, lengthBytes, (asked) =>
      plainTransaction(asked, Command.BLOCK_STATUS, 0, [], tell),
    );
    return found;
  }

  /** Nobody asks for a flush so often that memory would be bounded by that. */
  #forceFlush(): Promise<void> {
    this.#forced ??= this.flush().finally(() => (this.#forced = undefined));
    return this.#forced;
  }

  /** A flush that was sent when `covered` was the number of the newest kept write is acknowledged. */
  flushed(covered: number): void {
    this.#newestFlushed = undefined;
    this.kept.flushed(covered);
    if (this.#newestFlushed !== undefined) {
      const isChanging = (offset: number, length: number): boolean => this.isChanging(offset, length);
      this.#options.identity.flushed(this.#newestFlushed, this.kept, isChanging);
    }
    if (this.#pending.size === 0 && this.kept.count === 0) this.#pool.clear();
  }

  /** `settled` is told of the end of the request, whatever that is, before anybody else. */
  #ask<T extends Transaction>(
    command: number,
    offsetBytes: number,
    lengthBytes: number,
    make: (asked: Asked) => T,
    settled: (transaction: T, error: string | undefined) => void = () => undefined,
  ): Promise<void> {
    const operation = operationOf(command);
    const ended = this.#ended(operation, offsetBytes);
    if (ended !== undefined) return Promise.reject(ended);
    const cookie = this.nextCookie();
    const { name, clock } = this.#options;
    return new Promise((resolve, reject) => {
      const settle = (error: string | undefined): void => {
        const wasPending = this.#pending.delete(cookie);
        assert(wasPending, `${name}: a request is answered a second time`);
        if (this.#ended(operation, offsetBytes) === undefined) this.#options.onAnswered();
        settled(transaction, error);
        if (this.#pending.size === 0) for (const wake of this.#idle.splice(0)) wake();
        if (error === undefined) return resolve();
        // A flush that failed has ended it just now.
        const ended = this.#ended(operation, offsetBytes);
        reject(ended ?? new DeviceError(name, operation, offsetBytes, error, `its server says ${error}`));
      };
      const transaction = make({ cookie, offsetBytes, lengthBytes, startedMs: clock.monotonicMs(), settle });
      const isFirst = this.#pending.size === 0;
      this.#pending.set(cookie, transaction);
      this.#options.onAsked(transaction, isFirst);
    });
  }

  // ---- the end

  /** Resolves when nothing is without an answer. */
  async answered(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** From now on everything fails, and so does what waits. */
  fail(failure: DeviceError): void {
    this.#failure = failure;
    for (const transaction of [...this.#pending.values()]) transaction.settle(failure.code);
    this.kept.clear();
  }

  /** Nothing is asked any more, and what was asked too late to be answered fails. */
  close(): void {
    this.#closed = true;
    for (const transaction of [...this.#pending.values()]) transaction.settle("EBADF");
    this.kept.clear();
  }

  /** Why nothing can be asked any more; undefined while it can. */
  #ended(operation: DeviceOperation, offsetBytes: number): DeviceError | undefined {
    if (this.#closed) return new DeviceError(this.#options.name, operation, offsetBytes, "EBADF", "device is closed");
    return this.#failure === undefined ? undefined : this.#failed(operation, offsetBytes);
  }

  #failed(operation: DeviceOperation, offsetBytes: number): DeviceError {
    const { code, message } = this.#failure as DeviceError;
    const kind = this.#failure instanceof ContentLostError ? ContentLostError : DeviceError;
    return new kind(this.#options.name, operation, offsetBytes, code, message);
  }
}
