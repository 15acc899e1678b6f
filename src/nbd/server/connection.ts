// One client from its first byte to its last: greeting, TLS, negotiation, transmission, and the end of all of it. Whatever the
// client does, its requests are waited for, its lease is given back, and nobody else notices (I9, I12).

import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/thrown.ts";
import { withinLimit } from "../../base/time-limit.ts";
import { ByteSink } from "../wire/byte-sink.ts";
import { ByteSource } from "../wire/byte-source.ts";
import { HandshakeFlag } from "../wire/constants.ts";
import { NbdClosedError, NbdProtocolError } from "../wire/errors.ts";
import { CLIENT_FLAGS_BYTES, decodeClientFlags, encodeGreeting } from "../wire/greeting.ts";
import type { Negotiation, OpenExport, TlsState } from "./agreement.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Export } from "./export.ts";
import { InFlight } from "./in-flight.ts";
import type { Admission } from "./lease.ts";
import type { ServerLimits } from "./limits.ts";
import { negotiate } from "./negotiation.ts";
import { StallWatch } from "./stall-watch.ts";
import { secure, type TlsKeys } from "./tls.ts";
import { Transmission } from "./transmission.ts";
import { labelOf, type Visitor } from "./visitor.ts";

/** How long a client is given to hang up itself after the last reply, so that what it sent meanwhile does not cost it that. */
const LINGER_MS = 2000;
/** So long after it was hung up on nothing waits for the client any more. */
const HUNG_UP_MS = 1000;

export interface ConnectionOptions {
  readonly catalogue: Catalogue;
  readonly limits: ServerLimits;
  readonly clock: Clock;
  /** TLS is required where it is given, unless plaintext is allowed as well. */
  readonly tls: TlsKeys | undefined;
  readonly plaintextAllowed?: boolean;
  readonly log: (line: string) => void;
  /** Whether one more connection may have an export open. */
  readonly hasRoom: () => boolean;
}

export class Connection {
  /** Resolves when the connection is closed and none of its requests is under way any more. Never rejects. */
  readonly ended: Promise<void>;
  readonly #options: ConnectionOptions;
  readonly #inFlight: InFlight;
  #stream: Duplex;
  #source: ByteSource;
  #sink: ByteSink;
  #visitor: Visitor;
  #admission: Admission | undefined;
  #transmission: Transmission | undefined;
  #isDraining = false;
  /** It was hung up on, or told why it ends: nothing more is to be said in the log. */
  #isTold = false;

  constructor(stream: Duplex, visitor: Visitor, options: ConnectionOptions) {
    this.#stream = stream;
    this.#visitor = visitor;
    this.#options = options;
    this.#inFlight = new InFlight(options.limits);
    this.#source = new ByteSource(stream);
    this.#sink = new ByteSink(stream);
    // For the times when nobody else listens: before TLS takes it over, and after the end.
    stream.on("error", () => undefined);
    this.ended = this.#serve();
  }

  get label(): string {
    return labelOf(this.#visitor);
  }

  /** The export it has open; undefined until then, while nothing is known of who is at the other end. */
  get served(): Export | undefined {
    return this.#transmission?.served;
  }

  /** Ends it, for others that want in. */
  makeWay(): void {
    this.#hangUp("hung up on: others want in, and it was the longest about opening an export");
  }

  /** Takes no more requests; `ended` resolves when those under way are over. */
  cut(why = "another connection takes its place"): void {
    this.#hangUp(`cut off: ${why}`);
  }

  /**
   * Finishes and answers what is under way, then hangs up, and does so unfinished after `drainMs`. False: requests are under way even
   * then, which the device holds up.
   */
  async drain(): Promise<boolean> {
    this.#isDraining = true;
    this.#transmission?.stop();
    const finished = this.#finish();
    if (await this.#comesWithin(finished, this.#options.limits.drainMs)) return true;
    this.#hangUp("hung up on: not everything was answered, and taken, before the server's end");
    return this.#comesWithin(finished, HUNG_UP_MS);
  }

  async #finish(): Promise<void> {
    await this.#inFlight.idle();
    // Whoever waits for more from the client is told that there is no more.
    this.#source.release();
    await this.ended;
  }

  #comesWithin(work: Promise<void>, ms: number): Promise<boolean> {
    const late = (): Error => new Error("late");
    return withinLimit(work, { clock: this.#options.clock, ms }, late).then(
      () => true,
      () => false,
    );
  }

  async #serve(): Promise<void> {
    const { clock, limits } = this.#options;
    const watch = new StallWatch({
      clock,
      stallMs: limits.stallMs,
      progress: () => this.#progress(),
      stalled: () => this.#hangUp("hung up on: stopped in the middle of a message, or takes no replies"),
    });
    try {
      const opened = await this.#open();
      await this.#leave(opened !== undefined && (await this.#transmit(opened)));
    } catch (error) {
      if (this.#isDraining) await this.#leave(false);
      else this.#logEnd(error);
    }
    watch.stop();
    this.#stream.destroy();
    await this.#giveBackLease(false);
  }

  /** Everything up to the first request. Undefined when the client left before that. */
  async #open(): Promise<OpenExport | undefined> {
    const { clock, limits, tls, plaintextAllowed = false } = this.#options;
    const timer = clock.after(limits.handshakeMs, () => this.#hangUp("hung up on: took too long to open an export"));
    try {
      this.#sink.send(encodeGreeting(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES));
      const flags = decodeClientFlags(await this.#source.take(CLIENT_FLAGS_BYTES, "client flags"));
      const noZeroes = (flags & HandshakeFlag.NO_ZEROES) !== 0;
      const offered = plaintextAllowed ? "allowed" : "required";
      let outcome = await negotiate(this.#negotiation(noZeroes, tls === undefined ? "none" : offered));
      if (outcome.kind === "secure") {
        await this.#secure(tls as TlsKeys);
        outcome = await negotiate(this.#negotiation(noZeroes, "begun"));
      }
      return outcome.kind === "open" ? outcome.opened : undefined;
    } finally {
      timer.cancel();
    }
  }

  #negotiation(noZeroes: boolean, tls: TlsState): Negotiation {
    const { catalogue, hasRoom } = this.#options;
    return {
      gone: endOf(this.#stream),
      hasRoom,
      source: this.#source,
      sink: this.#sink,
      catalogue,
      visitor: this.#visitor,
      holder: this,
      tls,
      noZeroes,
      isDraining: () => this.#isDraining,
      admitted: (admission) => (this.#admission = admission),
      log: (line) => this.#log(line),
    };
  }

  /** Goes on in TLS. Nothing that came before it may have any effect after it. */
  async #secure(keys: TlsKeys): Promise<void> {
    const raw = this.#stream;
    const early = this.#source.release().reduce((sum, piece) => sum + piece.length, raw.readableLength);
    if (early > 0) throw new NbdProtocolError("option STARTTLS", `${early} bytes of plaintext behind it`);
    this.#sink.release();
    const { stream, identity } = await secure(raw, keys, this.#options.limits.handshakeMs);
    stream.on("error", () => undefined);
    this.#stream = stream;
    this.#source = new ByteSource(stream);
    this.#sink = new ByteSink(stream);
    this.#visitor = { ...this.#visitor, identity };
  }

  /** Gives whether the client said that it was leaving. */
  #transmit(opened: OpenExport): Promise<boolean> {
    const mode = opened.readOnly ? "reading" : "writing";
    this.#log(`opened export "${opened.export.name}" for ${mode}`);
    const place = {
      source: this.#source,
      sink: this.#sink,
      inFlight: this.#inFlight,
      log: (line: string) => this.#log(line),
    };
    this.#transmission = new Transmission(opened, place);
    if (this.#isDraining) this.#transmission.stop();
    return this.#transmission.run();
  }

  /** What is under way may still write to the device: until it is over nobody else gets the lease. */
  async #giveBackLease(inOrder: boolean): Promise<void> {
    await this.#inFlight.idle();
    const admission = this.#admission;
    this.#admission = undefined;
    if (admission === undefined) return;
    admission.leave(inOrder);
    this.#log(inOrder ? "left" : "gone");
  }

  /** Answers what is under way, ends the stream, and waits until the client has done so too, though not for long. */
  async #leave(inOrder: boolean): Promise<void> {
    await this.#giveBackLease(inOrder);
    const stream = this.#stream;
    this.#source.release();
    if (stream.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(LINGER_MS, resolve);
      const done = (): void => {
        timer.cancel();
        resolve();
      };
      stream.once("close", done).once("end", done);
      if (stream.readableEnded) stream.end(done);
      else stream.end();
      stream.resume();
    });
  }

  #progress(): string | undefined {
    const isHalfRead = this.#transmission?.isInMessage === true && this.#source.isWaiting;
    if (!isHalfRead && this.#sink.heldBytes === 0) return undefined;
    return `${this.#source.receivedBytes} ${this.#sink.sentBytes - this.#sink.heldBytes}`;
  }

  #hangUp(why: string): void {
    if (this.#stream.destroyed) return;
    this.#log(why);
    this.#isTold = true;
    this.#stream.destroy();
  }

  #logEnd(error: unknown): void {
    if (this.#isTold) return;
    if (error instanceof NbdClosedError && error.atBoundary && this.#admission === undefined) return;
    this.#log(`hung up: ${messageOf(error)}`);
  }

  #log(line: string): void {
    this.#options.log(`${this.label}: ${line}`);
  }
}

/** Rejects when the stream is closed. */
function endOf(stream: Duplex): Promise<never> {
  const gone = new Promise<never>((_, reject) => {
    const closed = (): void => reject(new NbdClosedError("opening an export", false));
    if (stream.destroyed) closed();
    else stream.once("close", closed).once("end", closed);
  });
  gone.catch(() => undefined);
  return gone;
}
