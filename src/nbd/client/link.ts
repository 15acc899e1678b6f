// The way to one export. When a connection is lost, another one is made, the node at its end recognised, what no flush covers
// written again and flushed, and everything without an answer sent again, in the order it was asked for. Only when that takes
// longer than the policy allows does anything fail; then everything does, for good: the copy is dropped (I2), and opened anew when
// it comes back. Here is what state that is in, and who is told; the work is done by requests (requests.ts), adoption (adoption.ts),
// widening (widening.ts) and reconnecting (reconnecting.ts).
// Invariant I11: nothing is written later than the tenure (tenure.ts) allows.

import { withinLimit } from "../../base/time-limit.ts";
import { ContentLostError, DeviceError } from "../../device/device.ts";
import { OpenError } from "../../device/open-error.ts";
import { Adoption } from "./adoption.ts";
import { Bundle } from "./bundle.ts";
import type { Connection } from "./connection.ts";
import type { NodeEvent } from "./events.ts";
import { NodeIdentity, type ReadNow } from "./identity.ts";
import type { LinkCounters, LinkState } from "./link-state.ts";
import { openFailure } from "./open-failure.ts";
import { Overdue } from "./overdue.ts";
import { Reconnecting } from "./reconnecting.ts";
import { NbdRefusedError } from "./refused-error.ts";
import { Requests } from "./requests.ts";
import { LATE, Tenure } from "./tenure.ts";
import { stillHolds, type Terms, writeRefusal } from "./terms.ts";
import { changes, type Transaction } from "./transaction.ts";
import type { LinkOptions, Reached, Way } from "./way.ts";
import { Widening } from "./widening.ts";

/** So long a server may take to hear that we leave. */
const GOODBYE_MS = 3000;
/** What is under way when the address is changed may take this part of the time a request has. */
const DRAIN_PART = 8;

interface Away {
  readonly sinceMs: number;
  /** The address that was in use. */
  readonly from: string;
  /** The connection was not lost but given up for a better one. */
  readonly whyChanged: string | undefined;
}

export class Link {
  readonly name: string;
  readonly terms: Terms;
  readonly requests: Requests;
  readonly tenure: Tenure;
  readonly counters: LinkCounters;
  readonly #way: Way;
  readonly #options: LinkOptions;
  readonly #identity: NodeIdentity;
  readonly #overdue: Overdue;
  readonly #reconnecting: Reconnecting;
  readonly #widening: Widening;
  #state: LinkState = "connected";
  /** Ready for requests; undefined while there is none, or one that is being brought up to date. */
  #bundle: Bundle | undefined;
  /** What the address is being changed from: no request goes by it any more, and some wait for their answer. */
  #draining: Bundle | undefined;
  #address: string;
  #adoption: Adoption | undefined;
  /** Since the last connection; undefined before the first. */
  #away: Away | undefined;
  /** Resolves when the last change to a better address is over. */
  #changed: Promise<void> = Promise.resolve();
  #isClosing = false;

  private constructor(way: Way, options: LinkOptions, reached: Reached) {
    const { name, clock, policy } = options;
    const { terms } = reached.opened;
    this.name = name;
    this.terms = terms;
    this.tenure = new Tenure(terms.lease);
    this.counters = { reconnects: 0, resent: 0, roundTripMs: terms.roundTripMs, lastError: undefined };
    this.#way = way;
    this.#options = options;
    this.#address = reached.address;
    this.#identity = new NodeIdentity(name, terms.sizeBytes);
    this.requests = new Requests({
      ...{ name, clock, terms, identity: this.#identity, keptBytesMax: policy.keptBytesMax },
      onAsked: (transaction, isFirst) => {
        if (isFirst) this.#reconnecting.hurry();
        if (this.#bundle !== undefined) this.#send(this.#bundle, transaction);
        this.#overdue.watch();
      },
      onAnswered: () => this.#reconnecting.proven(),
      onFlushFailed: (error) => this.#giveUp(error, `its server could not flush: ${error}`, true),
    });
    this.#overdue = new Overdue(way, options, {
      oldestMs: () => this.requests.oldestMs,
      connections: () => this.#bundle,
      address: () => this.#address,
      onOverdue: () => this.#giveUp("ENOTCONN", `no answer within ${policy.timeoutMs} ms${this.#lastError}`),
      onSilent: (silentMs) => this.#lost(new Error(`no answer for ${Math.round(silentMs)} ms`)),
    });
    this.#widening = new Widening(options, {
      ...{ terms, requests: this.requests, identity: this.#identity, tenure: this.tenure },
      onLost: (connection, reason) => this.#lostBy(connection, reason),
      emit: (event) => this.#emit(event),
    });
    this.#reconnecting = new Reconnecting(way, options, {
      isWanted: () => this.#state === "reconnecting",
      isAwaited: () => this.requests.count > 0,
      adopt: (reachedAgain) => this.#goOn(reachedAgain),
      onTrouble: (reason) => this.#note(reason),
      giveUp: (code, reason, contentLost) => this.#giveUp(code, reason, contentLost),
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

  /** Those in use. */
  get connections(): number {
    return this.#bundle?.count ?? 0;
  }

  // ---- connections

  /** Sends a request, unless it is too late for that. */
  #send(bundle: Bundle, transaction: Transaction): void {
    if (!changes(transaction) || this.tenure.mayWrite(this.#nowMs)) bundle.send(transaction);
    else this.#giveUp("ESTALE", LATE);
  }

  /** Brings a new connection up to date, and everything that waits onto it. Rejects when it does not last that long. */
  #adopt(reached: Reached, recognise: (read: ReadNow) => Promise<void>): Promise<void> {
    const { name, requests, tenure } = this;
    const { opened, address } = reached;
    const { clock, policy } = this.#options;
    this.#adoption = new Adoption(opened, {
      ...{ name, clock, policy, requests, tenure, recognise, isFirst: true },
      onReady: (connection, keptWrites) => {
        this.#state = "connected";
        this.#address = address;
        this.counters.roundTripMs = opened.terms.roundTripMs;
        this.#tellBack(keptWrites);
        const bundle = new Bundle(connection);
        this.#use(bundle, requests.pending);
        this.#widening.widen(bundle, reached);
      },
      onLost: (connection, reason) => this.#lostBy(connection, reason),
    });
    return this.#adoption.run();
  }

  #tellBack(keptWrites: number): void {
    const address = this.#address;
    const requests = this.requests.count;
    if (this.#away === undefined)
      return this.#emit({ kind: "connected", address, roundTripMs: this.counters.roundTripMs });
    const { sinceMs, from, whyChanged } = this.#away;
    this.counters.resent += requests + keptWrites;
    if (whyChanged === undefined) {
      this.counters.reconnects++;
      this.#emit({ kind: "reconnected", address, awayMs: this.#nowMs - sinceMs, requests, keptWrites });
    }
    if (address === from) return;
    this.#emit({ kind: "route-changed", from, to: address, reason: whyChanged ?? "it was lost" });
  }

  /** Requests go by these connections from now on, those that wait first. */
  #use(bundle: Bundle, waiting: Iterable<Transaction>): void {
    this.#bundle = bundle;
    this.#overdue.begin();
    for (const transaction of [...waiting]) {
      if (this.#bundle !== bundle) return;
      this.#send(bundle, transaction);
    }
    this.#way.watch(this.#address, (better) => {
      if (this.#bundle === bundle) this.#changed = this.#changeOver(bundle, better);
    });
  }

  /** Goes by another address although this one works, if what is under way is answered soon. */
  async #changeOver(bundle: Bundle, better: string): Promise<void> {
    // From here on requests wait.
    this.#bundle = undefined;
    this.#draining = bundle;
    const { clock, policy } = this.#options;
    const limit = { clock, ms: policy.timeoutMs / DRAIN_PART };
    await withinLimit(bundle.drained(), limit, () => new Error("late")).catch(() => undefined);
    this.#draining = undefined;
    // Given up, or closed: it has been let go of.
    if (this.#state !== "connected") return;
    // Whatever it does not get done there, it would have to do again by the better way. Goodbye can be said here as well.
    if ((bundle.inFlight > 0 || this.#isClosing) && !bundle.isOver)
      return this.#use(
        bundle,
        [...this.requests.pending].filter(({ cookie }) => !bundle.has(cookie)),
      );
    // No goodbye: a server of ours would take it for the end of our lease.
    this.#drop(bundle);
    await this.#restore(`${better} is better`);
  }

  #drop(bundle: Bundle | undefined): void {
    bundle?.destroy();
    this.#widening.abandon();
  }

  #lostBy(connection: Connection, reason: Error): void {
    if (this.#bundle?.includes(connection) === true) this.#lost(reason);
  }

  #lost(reason: Error): void {
    this.#drop(this.#bundle);
    this.#bundle = undefined;
    this.#note(reason.message);
    this.#emit({ kind: "lost", address: this.#address, reason: reason.message });
    void this.#restore();
  }

  #restore(whyChanged?: string): Promise<void> {
    this.#state = "reconnecting";
    this.#away = { sinceMs: this.#nowMs, from: this.#address, whyChanged };
    return this.#reconnecting.restore();
  }

  /** Goes on by a new connection, if it leads to what we had, and that is ours still. */
  async #goOn(reached: Reached): Promise<void> {
    const { opened } = reached;
    const refuse = (error: Error): never => {
      opened.destroy();
      throw error;
    };
    if (!stillHolds(this.terms, opened.terms))
      refuse(
        new NbdRefusedError("another-node", "the export is another one now: its size or what it can do has changed"),
      );
    const late = this.tenure.refusal(opened.terms.lease, this.requests.oweWrites, this.#nowMs);
    if (late !== undefined) refuse(new DeviceError(this.name, "write", 0, "ESTALE", late));
    const { requests } = this;
    await this.#adopt(reached, (read) =>
      this.#identity.recognise(read, requests.kept, (offset, length) => requests.isChanging(offset, length)),
    );
  }

  get #lastError(): string {
    const { lastError } = this.counters;
    return lastError === undefined ? "" : ` (${lastError})`;
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  // ---- the end

  /** From now on everything fails. */
  #giveUp(code: string, reason: string, contentLost = false): void {
    if (this.#state === "given-up" || this.#state === "closed") return;
    const kind = contentLost ? ContentLostError : DeviceError;
    const failure = Object.assign(new kind(this.name, "open", 0, code), { message: reason });
    this.#state = "given-up";
    this.#note(reason);
    this.#leave();
    this.requests.fail(failure);
    this.#emit({ kind: "gave-up", reason });
  }

  /** No reply is taken any more, by whatever connection: it would go to memory that somebody else has by then. */
  #leave(): void {
    this.#draining?.destroy();
    this.#drop(this.#bundle);
    this.#bundle = undefined;
    this.#adoption?.abandon();
    this.#reconnecting.hurry();
    this.#way.close();
  }

  /**
   * Waits for what is under way, which is bounded by the policy, and leaves. Connections on the way are waited for as well: the one
   * that leaves last must say goodbye, or a server of ours keeps our lease. Resolves when the server has heard it, or does not seem to:
   * whoever ends the server or mounts elsewhere right after that finds the export free.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.requests.answered();
    const { clock, policy } = this.#options;
    const settled = this.#changed.then(() => this.#widening.settled);
    await withinLimit(settled, { clock, ms: policy.timeoutMs }, () => new Error("late")).catch(() => undefined);
    if (this.#state === "closed") return;
    const bundle = this.#state === "connected" ? this.#bundle : undefined;
    this.#state = "closed";
    this.#overdue.end();
    const goodbye = bundle?.close();
    if (bundle !== undefined) this.#bundle = undefined;
    this.#leave();
    this.requests.close();
    if (goodbye === undefined) return;
    await withinLimit(goodbye, { clock, ms: GOODBYE_MS }, () => new Error("late")).catch(() => bundle?.destroy());
  }

  #note(reason: string): void {
    this.counters.lastError = reason;
  }

  #emit(event: NodeEvent): void {
    this.#options.observer({ node: this.name, event });
  }
}
