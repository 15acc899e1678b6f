// The way to one export: requests live here until they are answered, over as many connections as that takes. When a
// connection is lost, another one is made, the node at its end recognised, what no flush covers written again and flushed, and
// everything without an answer sent again, in the order it was asked for. Only when that takes longer than the policy allows
// does anything fail; then everything does, for good: the copy is dropped (I2), and opened anew when it comes back.
// Invariants: I1 (an acknowledged flush covers every write answered before, whatever the server lost meanwhile), I11 (nothing
// is written later than the heartbeat allows).

import { withinLimit } from "../../base/time-limit.ts";
import { ContentLostError, DeviceError, type DeviceOperation } from "../../device/device.ts";
import { OpenError } from "../../device/open.ts";
import { Command, CommandFlag, TransmissionFlag } from "../wire/constants.ts";
import type { BlockStatus, Extent } from "../wire/chunk.ts";
import { Connection } from "./connection.ts";
import type { NodeEvent } from "./events.ts";
import { FramePool } from "./frames.ts";
import { NodeIdentity } from "./identity.ts";
import { KeptWrites } from "./kept-writes.ts";
import { type LinkCounters, type LinkState, operationOf } from "./link-state.ts";
import { backoffMs } from "./policy.ts";
import { openFailure } from "./open-failure.ts";
import { Overdue } from "./overdue.ts";
import { NbdRefusedError } from "./refused-error.ts";
import { bringUpToDate } from "./replay.ts";
import type { LinkOptions, Reached, Way } from "./way.ts";
import { offers, stillHolds, type Terms, writeRefusal } from "./terms.ts";
import {
  type Asked,
  changes,
  plainTransaction,
  type Transaction,
  type Write,
  writeTransaction,
  zeroTransaction,
} from "./transaction.ts";

/** An attempt to get it back may take this part of the time a request has. */
const ATTEMPT_PART = 4;
const ATTEMPT_MIN_MS = 1000;
const ADOPT_MIN_MS = 2000;
/** The same for what is under way when the address is changed. */
const DRAIN_PART = 8;

export class Link {
  readonly name: string;
  readonly terms: Terms;
  readonly counters: LinkCounters;
  /** No write is sent again later than this, by the monotonic clock. */
  writableUntilMs = Infinity;
  readonly #way: Way;
  readonly #options: LinkOptions;
  readonly #identity: NodeIdentity;
  readonly #pool = new FramePool();
  /** Without an answer, in the order they were asked for. */
  readonly #pending = new Map<number, Transaction>();
  readonly #kept: KeptWrites;
  readonly #idle: (() => void)[] = [];
  #newestFlushed: Write | undefined;
  #state: LinkState = "connected";
  /** Ready for requests; undefined while there is none, or one that is being brought up to date. */
  #connection: Connection | undefined;
  #address: string;
  /** Number of the lease of the connection in use, or used last. */
  #lease: number | undefined;
  /** Ends the attempt to get back that is under way. */
  #abandon: () => void = () => undefined;
  /** Ends a pause between two attempts. */
  #hurry: () => void = () => undefined;
  #failure: DeviceError | undefined;
  readonly #overdue: Overdue;
  #forced: Promise<void> | undefined;
  #cookie = 0;

  private constructor(way: Way, options: LinkOptions, reached: Reached) {
    const { terms } = reached.opened;
    this.name = options.name;
    this.terms = terms;
    this.#way = way;
    this.#options = options;
    this.#address = reached.address;
    this.#overdue = new Overdue(way, options, {
      oldestMs: () => this.#pending.values().next().value?.startedMs,
      connection: () => this.#connection,
      address: () => this.#address,
      onOverdue: () => this.#giveUp("ENOTCONN", `no answer within ${options.policy.timeoutMs} ms${this.#lastError}`),
      onSilent: (connection, silentMs) => {
        connection.destroy();
        this.#lost(new Error(`no answer for ${Math.round(silentMs)} ms`));
      },
    });
    this.#identity = new NodeIdentity(options.name, terms.sizeBytes);
    this.counters = { reconnects: 0, resent: 0, roundTripMs: terms.roundTripMs, lastError: undefined };
    this.#kept = new KeptWrites((write) => {
      this.#newestFlushed = write;
      this.#pool.give(write.frame);
    });
  }

  /** Opens the export by any of its addresses. Rejects with DeviceError. */
  static async open(way: Way, options: LinkOptions): Promise<Link> {
    try {
      const reached = await way.reach(options.policy.openMs);
      const link = new Link(way, options, reached);
      const refusal = options.writable ? writeRefusal(link.terms) : undefined;
      if (refusal !== undefined) {
        reached.opened.destroy();
        throw new OpenError(options.name, "open", refusal.code, refusal.detail);
      }
      await link.#adopt(reached, (read) => link.#identity.meet(read));
      link.#emit({ kind: "connected", address: reached.address, roundTripMs: link.terms.roundTripMs });
      return link;
    } catch (error) {
      way.close();
      throw openFailure(options.name, error);
    }
  }

  get state(): LinkState {
    return this.#state;
  }

  /** That in use, or used last. */
  get address(): string {
    return this.#address;
  }

  get addresses(): readonly string[] {
    return this.#way.addresses;
  }

  /** Requests without an answer. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Answered writes that no flush covers. */
  get keptBytes(): number {
    return this.#kept.bytes;
  }

  // ---- requests

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
    const { keptBytesMax } = this.#options.policy;
    if (this.#kept.bytes >= keptBytesMax)
      return this.#forceFlush().then(() => this.#change(command, offsetBytes, lengthBytes, make));
    const canFlush = offers(this.terms, TransmissionFlag.SEND_FLUSH);
    const made = (asked: Asked): Write => {
      const write = make(asked, canFlush ? 0 : CommandFlag.FUA);
      this.#identity.written(write);
      return write;
    };
    return this.#ask(command, offsetBytes, lengthBytes, made, (write, error) => {
      if (error !== undefined || !canFlush) return this.#pool.give(write.frame);
      this.#kept.add(write);
      if (this.#kept.bytes >= keptBytesMax / 2) this.#forceFlush().catch(() => undefined);
    });
  }

  /** Makes every write that was answered durable. A server without FLUSH has made each durable before it answered. */
  async flush(): Promise<void> {
    if (!offers(this.terms, TransmissionFlag.SEND_FLUSH)) {
      const ended = this.#ended("flush", 0);
      if (ended !== undefined) throw ended;
      return;
    }
    const covered = this.#kept.lastNumber;
    const made = (asked: Asked): Transaction => plainTransaction(asked, Command.FLUSH);
    await this.#ask(Command.FLUSH, 0, 0, made, (_, error) => {
      if (error === undefined) this.#flushed(covered);
      // Asked again, a server may say that all is well, having forgotten what it could not keep.
      else this.#giveUp(error, `its server could not flush: ${error}`, true);
    });
  }

  /** A hint, for servers that take it. */
  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!offers(this.terms, TransmissionFlag.SEND_TRIM)) return;
    this.#identity.discarded(offsetBytes, lengthBytes);
    await this.#ask(Command.TRIM, offsetBytes, lengthBytes, (asked) => plainTransaction(asked, Command.TRIM));
  }

  /** Where holes are, from the beginning of the range; undefined where the server does not tell. */
  async extents(offsetBytes: number, lengthBytes: number): Promise<readonly Extent[] | undefined> {
    const context = this.terms.allocationContext;
    if (context === undefined) return undefined;
    const found: Extent[] = [];
    const status = ({ contextId, extents }: BlockStatus): void =>
      void (contextId === context && found.push(...extents));
    await this.#ask(Command.BLOCK_STATUS, offsetBytes, lengthBytes, (asked) =>
      plainTransaction(asked, Command.BLOCK_STATUS, 0, [], status),
    );
    return found;
  }

  /** Nobody asks for a flush so often that memory would be bounded by that. */
  #forceFlush(): Promise<void> {
    this.#forced ??= this.flush().finally(() => (this.#forced = undefined));
    return this.#forced;
  }

  #flushed(covered: number): void {
    this.#newestFlushed = undefined;
    this.#kept.flushed(covered);
    if (this.#newestFlushed !== undefined) this.#identity.flushed(this.#newestFlushed, this.#kept);
    if (this.#pending.size === 0 && this.#kept.count === 0) this.#pool.clear();
  }

  /** Why nothing can be asked any more; undefined while it can. */
  #ended(operation: DeviceOperation, offsetBytes: number): DeviceError | undefined {
    if (this.#state === "closed")
      return new DeviceError(this.name, operation, offsetBytes, "EBADF", "device is closed");
    return this.#failure === undefined ? undefined : this.#failed(operation, offsetBytes);
  }

  #failed(operation: DeviceOperation, offsetBytes: number): DeviceError {
    const { code, message } = this.#failure as DeviceError;
    const kind = this.#failure instanceof ContentLostError ? ContentLostError : DeviceError;
    return new kind(this.name, operation, offsetBytes, code, message);
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
    const cookie = this.#nextCookie();
    return new Promise((resolve, reject) => {
      const settle = (error: string | undefined): void => {
        this.#pending.delete(cookie);
        if (this.#pending.size === 0) for (const wake of this.#idle.splice(0)) wake();
        if (error === undefined) resolve();
        else if (this.#failure !== undefined) reject(this.#failed(operation, offsetBytes));
        else reject(new DeviceError(this.name, operation, offsetBytes, error, `its server says ${error}`));
        settled(transaction, error);
      };
      const transaction = make({ cookie, offsetBytes, lengthBytes, startedMs: this.#nowMs, settle });
      if (this.#pending.size === 0) this.#hurry();
      this.#pending.set(cookie, transaction);
      this.#connection?.send(transaction);
      this.#overdue.watch();
    });
  }

  #nextCookie(): number {
    do this.#cookie = (this.#cookie + 1) >>> 0;
    while (this.#pending.has(this.#cookie));
    return this.#cookie;
  }

  // ---- connections

  /** Brings a new connection up to date, and everything that waits onto it. Rejects when it does not last that long. */
  async #adopt(
    { opened, address }: Reached,
    recognise: Parameters<typeof bringUpToDate>[1]["recognise"],
  ): Promise<{ readonly requests: number; readonly keptWrites: number }> {
    let lost: Error | undefined;
    let end: (reason: Error) => void = () => undefined;
    const over = new Promise<never>((_, reject) => {
      end = (reason) => reject((lost = reason));
    });
    over.catch(() => undefined);
    const connection = new Connection(opened, {
      onAnswer: (transaction, error) => transaction.settle(error),
      onLost: (reason) => {
        if (this.#connection === connection) this.#lost(reason);
        else end(reason);
      },
    });
    this.#abandon = () => {
      connection.destroy();
      end(new Error("the node was given up"));
    };
    try {
      const covered = this.#kept.lastNumber;
      const replayed = bringUpToDate(connection, {
        name: this.name,
        kept: this.#kept,
        over,
        recognise,
        nextCookie: () => this.#nextCookie(),
      });
      const { clock, policy } = this.#options;
      const limit = { clock, ms: Math.max(ADOPT_MIN_MS, policy.timeoutMs / ATTEMPT_PART) };
      const keptWrites = await withinLimit(replayed, limit, () => new Error(`no answer within ${limit.ms} ms`));
      // It may have ended in the very moment in which the last answer came.
      if (lost !== undefined) throw lost;
      if (keptWrites > 0) this.#flushed(covered);
      this.#connection = connection;
      this.#state = "connected";
      this.#address = address;
      this.#lease = opened.terms.lease;
      this.counters.roundTripMs = opened.terms.roundTripMs;
      this.#overdue.begin();
      for (const transaction of this.#pending.values()) connection.send(transaction);
      this.#way.watch(address, (better) => void this.#changeOver(connection, better));
      return { requests: this.#pending.size, keptWrites };
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** Goes by another address although this one works: what is under way is waited for first. */
  async #changeOver(connection: Connection, better: string): Promise<void> {
    if (this.#connection !== connection) return;
    // From here on requests wait.
    this.#connection = undefined;
    const { clock, policy } = this.#options;
    const limit = { clock, ms: policy.timeoutMs / DRAIN_PART };
    await withinLimit(connection.drained(), limit, () => new Error("late")).catch(() => undefined);
    if (this.#state !== "connected") return;
    // No goodbye: a server of ours would take it for the end of our lease.
    connection.destroy();
    this.#state = "reconnecting";
    void this.#restore(this.#nowMs, `${better} is better`);
  }

  #lost(reason: Error): void {
    this.#connection = undefined;
    this.#state = "reconnecting";
    this.#note(reason.message);
    this.#emit({ kind: "lost", address: this.#address, reason: reason.message });
    void this.#restore(this.#nowMs);
  }

  /** `whyChanged`: the connection was not lost but given up for a better one. */
  async #restore(lostMs: number, whyChanged?: string): Promise<void> {
    const attemptMs = Math.max(ATTEMPT_MIN_MS, this.#options.policy.timeoutMs / ATTEMPT_PART);
    let waited = 0;
    for (let failed = 0; this.#state === "reconnecting"; failed++) {
      await this.#pause(backoffMs(failed));
      if (this.#pending.size > 0 && waited++ >= this.#options.policy.retryCount) {
        return this.#giveUp("ENOTCONN", `no connection after ${waited - 1} tries: ${this.counters.lastError ?? ""}`);
      }
      let reached: Reached | undefined;
      try {
        reached = await this.#way.reach(attemptMs);
        // Given up, or closed, while that went on.
        if (this.#state !== "reconnecting") return reached.opened.destroy();
        const before = this.#address;
        this.#refuseOther(reached);
        this.#refuseLate(reached);
        const resent = await this.#adopt(reached, (read) => this.#recognise(read));
        this.counters.resent += resent.requests + resent.keptWrites;
        const { address } = reached;
        const reason = whyChanged ?? "it was lost";
        if (whyChanged === undefined) {
          this.counters.reconnects++;
          this.#emit({ kind: "reconnected", address, awayMs: this.#nowMs - lostMs, ...resent });
        }
        if (address !== before) this.#emit({ kind: "route-changed", from: before, to: address, reason });
        return;
      } catch (error) {
        if (reached !== undefined && error instanceof NbdRefusedError) this.#way.blame(reached.address);
        this.#note(error instanceof Error ? error.message : String(error));
        if (error instanceof ContentLostError) return this.#giveUp(error.code, error.message, true);
        if (error instanceof DeviceError && error.code === "ESTALE") return this.#giveUp(error.code, error.message);
      }
    }
  }

  #recognise(read: Parameters<NodeIdentity["recognise"]>[0]): Promise<void> {
    const isChanging = (offsetBytes: number, lengthBytes: number): boolean =>
      [...this.#pending.values()].some(
        (other) =>
          changes(other) &&
          other.offsetBytes < offsetBytes + lengthBytes &&
          offsetBytes < other.offsetBytes + other.lengthBytes,
      );
    return this.#identity.recognise(read, this.#kept, isChanging);
  }

  /** What was agreed on must still hold. */
  #refuseOther({ opened }: Reached): void {
    if (stillHolds(this.terms, opened.terms)) return;
    opened.destroy();
    throw new NbdRefusedError("another-node", "the export is another one now: its size or what it can do has changed");
  }

  /**
   * Another host may have taken the volume over when our heartbeat is too old, and has when our lease is another one (I11). What
   * is not written yet is held to the heartbeat elsewhere, to the lease nowhere else.
   */
  #refuseLate({ opened }: Reached): void {
    const { lease } = opened.terms;
    let detail = "it was somebody else's meanwhile, or its server can't tell";
    if (lease !== undefined) {
      if (lease === this.#lease) return;
    } else {
      if (this.#nowMs <= this.writableUntilMs) return;
      if (this.#kept.count === 0 && ![...this.#pending.values()].some(changes)) return;
      detail = "it was away for longer than it was ours for certain";
    }
    opened.destroy();
    throw new DeviceError(this.name, "write", 0, "ESTALE", detail);
  }

  // ---- time

  get #lastError(): string {
    const { lastError } = this.counters;
    return lastError === undefined ? "" : ` (${lastError})`;
  }

  /** Ends early when a request comes: nobody is to wait for a pause that was made while nobody did. */
  #pause(durationMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(durationMs, resolve);
      this.#hurry = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  // ---- the end

  /** From now on everything fails. */
  #giveUp(code: string, reason: string, contentLost = false): void {
    if (this.#state === "given-up" || this.#state === "closed") return;
    const kind = contentLost ? ContentLostError : DeviceError;
    this.#failure = Object.assign(new kind(this.name, "open", 0, code), { message: reason });
    this.#state = "given-up";
    this.#note(reason);
    this.#leave();
    for (const transaction of [...this.#pending.values()]) transaction.settle(code);
    this.#kept.clear();
    this.#emit({ kind: "gave-up", reason });
  }

  #leave(): void {
    this.#connection?.destroy();
    this.#connection = undefined;
    this.#abandon();
    this.#hurry();
    this.#way.close();
  }

  /** Waits for what is under way, which is bounded by the policy, and leaves. */
  async close(): Promise<void> {
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    if (this.#state === "closed") return;
    const connection = this.#state === "connected" ? this.#connection : undefined;
    this.#state = "closed";
    this.#overdue.end();
    connection?.close();
    if (connection !== undefined) this.#connection = undefined;
    else this.#leave();
    this.#way.close();
    this.#kept.clear();
  }

  #note(reason: string): void {
    this.counters.lastError = reason;
  }

  #emit(event: NodeEvent): void {
    this.#options.observer({ node: this.name, event });
  }
}
