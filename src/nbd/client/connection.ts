// An open export over one connection: requests go out as they come, replies come back in any order. It knows nothing of trying
// again: when it ends, whatever has no answer stays with the caller.
// Invariant I12: a reply must belong to a request that is under way and fit it, or the connection ends with a typed error.

import { asError } from "../../base/thrown.ts";
import { ChunkType, Command, WireError } from "../wire/constants.ts";
import {
  type BlockStatus,
  blockStatusBytes,
  DATA_OFFSET_BYTES,
  decodeBlockStatus,
  decodeChunkError,
  decodeDataOffset,
  decodeHole,
} from "../wire/chunk.ts";
import { NbdProtocolError } from "../wire/errors.ts";
import {
  CHUNK_HEADER_BYTES,
  type ChunkHeader,
  decodeReplyHeader,
  replyHeaderBytes,
  SIMPLE_REPLY_BYTES,
} from "../wire/reply.ts";
import { encodeRequest } from "../wire/request.ts";
import { errorNameOf } from "../wire/wire-error.ts";
import { ReadReply } from "./read-reply.ts";
import { NbdRefusedError } from "./refused-error.ts";
import type { OpenExport, Terms } from "./terms.ts";
import type { Transaction } from "./transaction.ts";

/** An error chunk, or one we do not know, is no longer than this. */
const CHUNK_MAX_BYTES = 64 * 1024;
/** Of the extents of a BLOCK_STATUS no more than these are looked at: a reply may end anywhere, and so may be cut anywhere. */
const STATUS_MAX_BYTES = blockStatusBytes(4096);
/** We ask for no more. */
const CONTEXTS_MAX = 2;

export interface ConnectionObserver {
  /** The server answered; `error` is the system's name for what it said no with. */
  readonly onAnswer: (transaction: Transaction, error: string | undefined) => void;
  /** It is over; nothing is called any more after this. */
  readonly onLost: (reason: Error) => void;
}

interface Waiting {
  readonly transaction: Transaction;
  /** What came of a structured reply so far. */
  reply: ReadReply | undefined;
  error: string | undefined;
  /** Of a BLOCK_STATUS, one for each context. */
  readonly statuses: BlockStatus[];
}

export class Connection {
  readonly terms: Terms;
  readonly #export: OpenExport;
  readonly #observer: ConnectionObserver;
  readonly #waiting = new Map<number, Waiting>();
  readonly #idle: (() => void)[] = [];
  #over = false;

  constructor(opened: OpenExport, observer: ConnectionObserver) {
    this.terms = opened.terms;
    this.#export = opened;
    this.#observer = observer;
    this.#receive().catch((error: unknown) => this.#lost(asError(error)));
  }

  /** Requests sent and not answered. */
  get inFlight(): number {
    return this.#waiting.size;
  }

  /** This request was sent and not answered. */
  has(cookie: number): boolean {
    return this.#waiting.has(cookie);
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** All that was ever received: as long as it grows the server is alive. */
  get receivedBytes(): number {
    return this.#export.source.receivedBytes;
  }

  send(transaction: Transaction): void {
    if (this.#over) return;
    this.#waiting.set(transaction.cookie, { transaction, reply: undefined, error: undefined, statuses: [] });
    this.#export.sink.send(transaction.message);
  }

  /** Resolves when nothing is under way, or it is over. */
  async drained(): Promise<void> {
    if (this.#waiting.size > 0 && !this.#over) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Says goodbye and leaves; resolves when the server has heard it. For when nothing is under way. */
  async close(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    const cookie = { high: 0, low: 0 };
    this.#export.sink.send(encodeRequest({ flags: 0, command: Command.DISC, cookie, offsetBytes: 0, lengthBytes: 0 }));
    await this.#export.end();
  }

  /** Leaves at once; nobody is told. */
  destroy(): void {
    this.#over = true;
    this.#export.destroy();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#idle.splice(0)) wake();
  }

  #lost(reason: Error): void {
    this.#export.destroy();
    if (this.#over) return;
    this.#over = true;
    this.#wake();
    this.#observer.onLost(reason);
  }

  async #receive(): Promise<void> {
    const { source } = this.#export;
    const header = new Uint8Array(CHUNK_HEADER_BYTES);
    while (!this.#over) {
      header.set(source.takeNow(SIMPLE_REPLY_BYTES) ?? (await source.take(SIMPLE_REPLY_BYTES, "reply")));
      const headerBytes = replyHeaderBytes(header);
      if (headerBytes > SIMPLE_REPLY_BYTES) {
        header.set(await source.take(headerBytes - SIMPLE_REPLY_BYTES, "reply"), SIMPLE_REPLY_BYTES);
      }
      if (this.#over) return;
      const reply = decodeReplyHeader(header.subarray(0, headerBytes));
      const { high, low } = reply.cookie;
      const waiting = high === 0 ? this.#waiting.get(low) : undefined;
      if (waiting === undefined) throw new NbdProtocolError("reply", "it belongs to no request");
      const { transaction } = waiting;
      if (reply.kind === "chunk") await this.#chunk(reply, waiting);
      else if (transaction.command === Command.READ && this.terms.structured) {
        throw new NbdProtocolError("reply to READ", "a simple reply where structured ones were agreed on");
      } else {
        if (reply.error === 0 && transaction.targets.length > 0)
          await source.takeInto(transaction.targets, "data of a reply to READ");
        this.#answer(waiting, reply.error);
      }
    }
  }

  async #chunk(chunk: ChunkHeader, waiting: Waiting): Promise<void> {
    if (!this.terms.structured) throw new NbdProtocolError("reply", "a chunk although none were agreed on");
    const { transaction } = waiting;
    const isRead = transaction.command === Command.READ;
    if (isRead && chunk.type === ChunkType.OFFSET_DATA) {
      await this.#data(chunk.lengthBytes, (waiting.reply ??= new ReadReply(transaction)));
    } else {
      const isStatus = chunk.type === ChunkType.BLOCK_STATUS && transaction.command === Command.BLOCK_STATUS;
      // No extent is shorter than a byte.
      if (chunk.lengthBytes > (isStatus ? blockStatusBytes(transaction.lengthBytes) : CHUNK_MAX_BYTES))
        throw new NbdProtocolError("chunk", `type ${chunk.type} of ${chunk.lengthBytes} bytes`);
      const { source } = this.#export;
      const payload = await source.take(
        isStatus ? Math.min(chunk.lengthBytes, STATUS_MAX_BYTES) : chunk.lengthBytes,
        "chunk",
      );
      if (isRead && chunk.type === ChunkType.OFFSET_HOLE) {
        (waiting.reply ??= new ReadReply(transaction)).hole(decodeHole(payload));
      } else if (chunk.type >= ChunkType.ERROR) {
        waiting.error ??= errorNameOf(decodeChunkError(payload, chunk.type === ChunkType.ERROR_OFFSET).error);
      } else if (isStatus) {
        this.#status(decodeBlockStatus(payload), waiting);
        await source.skip(chunk.lengthBytes - payload.length, "chunk");
      } else if (chunk.type !== ChunkType.NONE || chunk.lengthBytes > 0 || !chunk.done) {
        throw new NbdProtocolError("chunk", `type ${chunk.type} in answer to command ${transaction.command}`);
      }
    }
    if (!chunk.done) return;
    if (isRead && waiting.error === undefined) (waiting.reply ?? new ReadReply(transaction)).end();
    const status = waiting.statuses.find(({ contextId }) => contextId === this.terms.allocationContext);
    if (waiting.error === undefined && status !== undefined) transaction.tell?.(status.extents);
    this.#settle(waiting);
  }

  /** What a server that is cut off has told of it counts for nothing, so it is kept until the reply is whole. */
  #status(status: BlockStatus, { statuses }: Waiting): void {
    if (statuses.some(({ contextId }) => contextId === status.contextId))
      throw new NbdProtocolError("reply to BLOCK_STATUS", `context ${status.contextId} comes twice`);
    if (statuses.length === CONTEXTS_MAX) throw new NbdProtocolError("reply to BLOCK_STATUS", "too many contexts");
    statuses.push(status);
  }

  async #data(lengthBytes: number, reply: ReadReply): Promise<void> {
    const { source } = this.#export;
    if (lengthBytes <= DATA_OFFSET_BYTES) throw new NbdProtocolError("data chunk", "it has no data");
    const offsetBytes = decodeDataOffset(await source.take(DATA_OFFSET_BYTES, "data chunk"));
    const targets = reply.data(offsetBytes, lengthBytes - DATA_OFFSET_BYTES);
    await source.takeInto(targets, "data of a chunk");
  }

  #answer(waiting: Waiting, wireError: number): void {
    if (wireError !== 0) waiting.error = errorNameOf(wireError);
    this.#settle(waiting);
  }

  #settle({ transaction, error }: Waiting): void {
    if (this.#over) return;
    // It will end, and another one may take its place: as good as a connection that was cut.
    if (error === errorNameOf(WireError.ESHUTDOWN))
      throw new NbdRefusedError("shutting-down", "the server is about to end");
    this.#waiting.delete(transaction.cookie);
    if (this.#waiting.size === 0) this.#wake();
    this.#observer.onAnswer(transaction, error);
  }
}
