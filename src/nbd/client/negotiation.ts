// The client's half of the negotiation: fixed newstyle, TLS where the target asks for it, structured replies where the server
// has them, and GO. Invariants: I12 (every length is bounded, every reply checked); with nbds:// nothing but STARTTLS is
// said in the clear, nothing said before TLS is kept, and there is no way down to plaintext.

import type { Duplex } from "node:stream";
import type { Clock } from "../../base/clock.ts";
import { ByteSink } from "../wire/byte-sink.ts";
import { ByteSource } from "../wire/byte-source.ts";
import { BASE_ALLOCATION, HandshakeFlag, Info, Option, OptionReply } from "../wire/constants.ts";
import { NbdProtocolError } from "../wire/errors.ts";
import { decodeGreeting, encodeClientFlags, GREETING_BYTES } from "../wire/greeting.ts";
import { decodeInfo } from "../wire/info.ts";
import { encodeLeaseContext, type LeaseContext } from "../wire/lease-context.ts";
import { encodeExportQuery, encodeMetaContextQuery, encodeOption } from "../wire/option.ts";
import {
  decodeMetaContext,
  decodeOptionReplyHeader,
  decodeRefusal,
  isRefusal,
  type MetaContext,
  OPTION_REPLY_HEADER_BYTES,
} from "../wire/option-reply.ts";
import { NbdRefusedError } from "./refused-error.ts";
import type { OpenExport, Terms } from "./terms.ts";

/** No reply of a negotiation is longer, and no option has more of them. */
const REPLY_MAX_BYTES = 16 * 1024;
const REPLIES_MAX = 64;
const LOOKS = 3;
/** What a server that names no sizes takes, by the protocol's document. */
const DEFAULT_SIZES = { minimumBytes: 1, maximumBytes: 32 * 1024 * 1024 };

export interface NegotiationOptions {
  readonly exportName: string;
  readonly clock: Clock;
  /** Who we are, for a server of ours. */
  readonly lease: LeaseContext;
  /** Puts TLS over the stream; undefined: the target asks for none. */
  readonly encrypt: ((stream: Duplex) => Promise<Duplex>) | undefined;
}

interface Reply {
  readonly type: number;
  readonly payload: Uint8Array;
}

export class Negotiation {
  readonly #clock: Clock;
  readonly #exportName: string;
  readonly #lease: string;
  #stream: Duplex;
  #source: ByteSource;
  #sink: ByteSink;
  #roundTripMs = Infinity;

  private constructor(stream: Duplex, options: NegotiationOptions) {
    this.#clock = options.clock;
    this.#exportName = options.exportName;
    this.#lease = encodeLeaseContext(options.lease);
    this.#stream = stream;
    this.#source = new ByteSource(stream);
    this.#sink = new ByteSink(stream);
  }

  /** Greets the server. Rejects with NbdProtocolError, NbdClosedError or NbdRefusedError; the stream is the caller's to destroy then. */
  static async begin(stream: Duplex, options: NegotiationOptions): Promise<Negotiation> {
    const negotiation = new Negotiation(stream, options);
    const flags = decodeGreeting(await negotiation.#source.take(GREETING_BYTES, "greeting"));
    negotiation.#sink.send(encodeClientFlags(HandshakeFlag.FIXED_NEWSTYLE | (flags & HandshakeFlag.NO_ZEROES)));
    if (options.encrypt !== undefined) await negotiation.#encrypt(options.encrypt);
    return negotiation;
  }

  async #encrypt(encrypt: (stream: Duplex) => Promise<Duplex>): Promise<void> {
    const { type, payload } = await this.#ask(Option.STARTTLS);
    if (isRefusal(type)) {
      throw new NbdRefusedError("no-tls", `the server refuses TLS${said(payload)}, and nothing is sent to it without`);
    }
    if (type !== OptionReply.ACK || payload.length > 0) throw new NbdProtocolError("reply to STARTTLS", `type ${type}`);
    this.#sink.release();
    // Whoever sits between could have put words in the server's mouth.
    if (this.#source.release().length > 0) {
      throw new NbdProtocolError("reply to STARTTLS", "something was said behind it in the clear");
    }
    this.#stream = await encrypt(this.#stream);
    this.#source = new ByteSource(this.#stream);
    this.#sink = new ByteSink(this.#stream);
    this.#roundTripMs = Infinity;
  }

  /**
   * Asks what the export is like, without opening it, and again, as the least of several round trips tells how far away it is;
   * then the connection is of no more use.
   */
  async look(): Promise<Terms> {
    for (let i = 1; i < LOOKS; i++) await this.#query(Option.INFO);
    const terms = await this.#query(Option.INFO);
    this.#sink.send(encodeOption(Option.ABORT));
    return terms;
  }

  /** Opens the export. */
  async open(): Promise<OpenExport> {
    const structured = (await this.#ask(Option.STRUCTURED_REPLY)).type === OptionReply.ACK;
    const contexts = structured ? await this.#contexts() : [];
    const terms = await this.#query(Option.GO);
    const stream = this.#stream;
    return {
      terms: {
        ...terms,
        structured,
        allocationContext: contexts.find(({ name }) => name === BASE_ALLOCATION)?.id,
        lease: contexts.find(({ name }) => name === this.#lease)?.id,
      },
      source: this.#source,
      sink: this.#sink,
      end: () => ended(stream),
      destroy: () => void stream.destroy(),
    };
  }

  /** Contexts that the server knows of those we ask for; none where it knows no contexts at all. */
  async #contexts(): Promise<MetaContext[]> {
    const option = Option.SET_META_CONTEXT;
    const queries = [BASE_ALLOCATION, this.#lease];
    const contexts: MetaContext[] = [];
    let reply = await this.#ask(option, encodeMetaContextQuery({ exportName: this.#exportName, queries }));
    for (; reply.type === OptionReply.META_CONTEXT; reply = await this.#reply(option)) {
      if (contexts.length === REPLIES_MAX) throw new NbdProtocolError("reply to SET_META_CONTEXT", "it has no end");
      contexts.push(decodeMetaContext(reply.payload));
    }
    if (reply.type === OptionReply.ACK) return contexts;
    if (isRefusal(reply.type)) return [];
    throw new NbdProtocolError("reply to SET_META_CONTEXT", `type ${reply.type}`);
  }

  async #query(option: typeof Option.INFO | typeof Option.GO): Promise<Terms> {
    const name = option === Option.GO ? "GO" : "INFO";
    const data = encodeExportQuery({ exportName: this.#exportName, infoTypes: [Info.BLOCK_SIZE] });
    let size: { readonly sizeBytes: number; readonly flags: number } | undefined;
    let sizes = DEFAULT_SIZES;
    let reply = await this.#ask(option, data);
    for (let count = 0; reply.type === OptionReply.INFO; count++) {
      if (count === REPLIES_MAX) throw new NbdProtocolError(`reply to ${name}`, "it has no end");
      const info = decodeInfo(reply.payload);
      if (info.type === Info.EXPORT) size = info;
      else if (info.type === Info.BLOCK_SIZE) sizes = info;
      reply = await this.#reply(option);
    }
    if (isRefusal(reply.type)) throw this.#refused(reply);
    if (reply.type !== OptionReply.ACK) throw new NbdProtocolError(`reply to ${name}`, `type ${reply.type}`);
    if (size === undefined) throw new NbdProtocolError(`reply to ${name}`, "it does not tell the size");
    const { sizeBytes, flags } = size;
    const { minimumBytes, maximumBytes } = sizes;
    const offered = { structured: false, allocationContext: undefined, lease: undefined };
    return { sizeBytes, flags, minimumBytes, maximumBytes, ...offered, roundTripMs: this.#roundTripMs };
  }

  #refused({ type, payload }: Reply): NbdRefusedError {
    switch (type) {
      case OptionReply.ERR_UNKNOWN:
        return new NbdRefusedError("no-export", `the server has no export '${this.#exportName}'${said(payload)}`);
      case OptionReply.ERR_TLS_REQD:
        return new NbdRefusedError(
          "tls-needed",
          `the server asks for TLS${said(payload)}; write nbds:// and name the key`,
        );
      case OptionReply.ERR_UNSUP:
        return new NbdRefusedError("unsupported", "the server is too old: it does not know the option GO");
      case OptionReply.ERR_POLICY:
        return new NbdRefusedError("in-use", `the server refuses the export${said(payload)}`);
      case OptionReply.ERR_SHUTDOWN:
        return new NbdRefusedError("shutting-down", "the server is about to end");
      default:
        return new NbdRefusedError("refused", `the server refuses the export${said(payload)}`);
    }
  }

  /** Sends an option and reads its first reply. */
  async #ask(option: number, data?: Uint8Array): Promise<Reply> {
    const startedMs = this.#clock.monotonicMs();
    this.#sink.send(encodeOption(option, data));
    const reply = await this.#reply(option);
    this.#roundTripMs = Math.min(this.#roundTripMs, this.#clock.monotonicMs() - startedMs);
    return reply;
  }

  async #reply(option: number): Promise<Reply> {
    const what = `reply to option ${option}`;
    const header = decodeOptionReplyHeader(await this.#source.take(OPTION_REPLY_HEADER_BYTES, what));
    if (header.option !== option) throw new NbdProtocolError(what, `it is for option ${header.option}`);
    if (header.lengthBytes > REPLY_MAX_BYTES) throw new NbdProtocolError(what, `${header.lengthBytes} bytes long`);
    return { type: header.type, payload: await this.#source.take(header.lengthBytes, what) };
  }
}

/** A server's own words, cut to a line. */
/** Ends our side of a stream; resolves when the other end has done so as well, or the stream was let go of. */
function ended(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) return resolve();
    stream.once("end", () => stream.destroy()).once("close", resolve);
    if (stream.readableEnded) stream.destroy();
    else stream.end();
  });
}

function said(payload: Uint8Array): string {
  const words = decodeRefusal(payload).replaceAll(/\s+/g, " ").trim().slice(0, 200);
  return words === "" ? "" : ` (${words})`;
}
