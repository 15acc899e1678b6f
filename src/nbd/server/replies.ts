// How a request is answered: in structured replies where they were agreed on, else in simple ones.

import type { ByteSink } from "../wire/byte-sink.ts";
import {
  DATA_OFFSET_BYTES,
  encodeBlockStatus,
  encodeChunkError,
  encodeDataOffset,
  type BlockStatus,
} from "../wire/chunk.ts";
import { ChunkType } from "../wire/constants.ts";
import { encodeChunk, encodeChunkHeader, encodeSimpleReply } from "../wire/reply.ts";
import type { Cookie, Request } from "../wire/request.ts";

const NOTHING = new Uint8Array(0);

export class Replies {
  readonly #sink: ByteSink;
  readonly #structured: boolean;

  constructor(sink: ByteSink, structured: boolean) {
    this.#sink = sink;
    this.#structured = structured;
  }

  /** It was done, and there is nothing to tell. */
  done(cookie: Cookie): void {
    this.#sink.send(encodeSimpleReply(0, cookie));
  }

  /** What a READ gave; `sent` is called when the data has gone out, or never will. */
  data({ cookie, offsetBytes }: Request, data: Uint8Array, sent: () => void): void {
    if (!this.#structured) this.#sink.sendAndTell(sent, encodeSimpleReply(0, cookie), data);
    else if (data.length === 0) this.#sink.sendAndTell(sent, encodeChunk(ChunkType.NONE, cookie, true, NOTHING));
    else {
      const lengthBytes = DATA_OFFSET_BYTES + data.length;
      const header = encodeChunkHeader({ done: true, type: ChunkType.OFFSET_DATA, cookie, lengthBytes });
      this.#sink.sendAndTell(sent, header, encodeDataOffset(offsetBytes), data);
    }
  }

  /** What a BLOCK_STATUS found, context by context. */
  statuses(cookie: Cookie, statuses: readonly BlockStatus[]): void {
    statuses.forEach((status, i) => {
      const done = i === statuses.length - 1;
      this.#sink.send(encodeChunk(ChunkType.BLOCK_STATUS, cookie, done, encodeBlockStatus(status)));
    });
  }

  /** It failed. `error` is one of WireError; the message gets to people only where replies are structured. */
  failed(cookie: Cookie, error: number, message: string): void {
    if (!this.#structured) this.#sink.send(encodeSimpleReply(error, cookie));
    else {
      const payload = encodeChunkError({ error, message, offsetBytes: undefined });
      this.#sink.send(encodeChunk(ChunkType.ERROR, cookie, true, payload));
    }
  }
}
