// A server of one export over streams in memory, and a client that says exactly what a test wants it to.

import { type Duplex, duplexPair } from "node:stream";
import { SystemClock } from "../../../src/base/clock.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import { SimulatedDevice } from "../../../src/device/simulated.ts";
import { AllowList } from "../../../src/nbd/server/allow-list.ts";
import { Catalogue } from "../../../src/nbd/server/catalogue.ts";
import { Connection, type ConnectionOptions } from "../../../src/nbd/server/connection.ts";
import { Export } from "../../../src/nbd/server/export.ts";
import { type LeaseRecord, NO_RECORD, type RecordedLease } from "../../../src/nbd/server/lease-record.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { ByteSink } from "../../../src/nbd/wire/byte-sink.ts";
import { ByteSource } from "../../../src/nbd/wire/byte-source.ts";
import { ChunkType, Command, Info, Option, OptionReply } from "../../../src/nbd/wire/constants.ts";
import { decodeChunkError } from "../../../src/nbd/wire/chunk.ts";
import { decodeGreeting, encodeClientFlags, GREETING_BYTES } from "../../../src/nbd/wire/greeting.ts";
import { decodeInfo } from "../../../src/nbd/wire/info.ts";
import { encodeExportQuery, encodeMetaContextQuery, encodeOption } from "../../../src/nbd/wire/option.ts";
import { decodeOptionReplyHeader, decodeRefusal, isRefusal } from "../../../src/nbd/wire/option-reply.ts";
import { decodeReplyHeader, replyHeaderBytes } from "../../../src/nbd/wire/reply.ts";
import { encodeRequest } from "../../../src/nbd/wire/request.ts";

export const SIZE_BYTES = 4 * 1024 * 1024;

/** What outlives a server, for as long as the test likes. */
export class RecordInMemory implements LeaseRecord {
  kept: RecordedLease | undefined;

  read(): RecordedLease | undefined {
    return this.kept;
  }

  keep(lease: RecordedLease): void {
    this.kept = lease;
  }

  forget(): void {
    this.kept = undefined;
  }
}

export class ServerScene {
  readonly device: SimulatedDevice;
  readonly served: Export;
  readonly lines: string[] = [];
  readonly options: ConnectionOptions;
  readonly connections: Connection[] = [];

  constructor(
    options: Partial<ConnectionOptions> & {
      readOnly?: boolean;
      device?: SimulatedDevice;
      seed?: number;
      record?: LeaseRecord;
    } = {},
  ) {
    const clock = options.clock ?? new SystemClock();
    const limits = options.limits ?? { ...DEFAULT_LIMITS, leaseMs: 0 };
    this.device = options.device ?? new SimulatedDevice("disk", SIZE_BYTES);
    this.served = new Export("x", this.device, {
      readOnly: options.readOnly ?? false,
      random: new SeededRandom(options.seed ?? 1),
      leaseMs: limits.leaseMs,
      clock,
      record: options.record ?? NO_RECORD,
    });
    this.options = {
      catalogue: new Catalogue([this.served], new AllowList([], ["x"])),
      tls: undefined,
      log: (line) => this.lines.push(line),
      hasRoom: () => true,
      ...options,
      clock,
      limits,
    };
  }

  /** The next call of this kind does nothing, and does not answer, before what this returns is called. */
  hold(operation: "write" | "flush"): () => void {
    let letGo = (): void => undefined;
    const until = new Promise<void>((resolve) => (letGo = resolve));
    this.device.fail({ operation, nth: 1, effect: { kind: "late", until } });
    return letGo;
  }

  /** The client's end of a new connection. */
  connect(): Duplex {
    const [mine, theirs] = duplexPair();
    mine.on("error", () => undefined);
    // Streams in memory do not notice by themselves that the other end is gone.
    mine.once("close", () => theirs.destroy());
    theirs.once("close", () => mine.readableEnded || mine.push(null));
    const visitor = { number: this.connections.length + 1, address: undefined, identity: undefined };
    this.connections.push(new Connection(theirs, visitor, this.options));
    return mine;
  }

  async client(): Promise<ScriptedClient> {
    const client = new ScriptedClient(this.connect());
    await client.greet();
    return client;
  }

  /** A client that has opened the export. */
  async opened(contexts: readonly string[] = []): Promise<ScriptedClient> {
    const client = await this.client();
    await client.option(Option.STRUCTURED_REPLY);
    if (contexts.length > 0) await client.select(contexts);
    await client.go();
    return client;
  }

  ended(): Promise<void[]> {
    return Promise.all(this.connections.map(({ ended }) => ended));
  }
}

export interface OptionAnswer {
  readonly type: number;
  readonly message: string;
  readonly payloads: readonly Uint8Array[];
}

export interface Answer {
  readonly error: number;
  readonly data: Buffer;
  readonly chunks: readonly { readonly type: number; readonly payload: Uint8Array }[];
}

export class ScriptedClient {
  readonly stream: Duplex;
  readonly source: ByteSource;
  readonly sink: ByteSink;
  #nextCookie = 1;

  constructor(stream: Duplex) {
    this.stream = stream;
    this.source = new ByteSource(stream);
    this.sink = new ByteSink(stream);
  }

  async greet(): Promise<void> {
    decodeGreeting(await this.source.take(GREETING_BYTES, "greeting"));
    this.sink.send(encodeClientFlags(3));
  }

  /** Sends an option and takes its replies up to the last. */
  async option(option: number, data?: Uint8Array): Promise<OptionAnswer> {
    this.sink.send(encodeOption(option, data));
    const payloads: Uint8Array[] = [];
    for (;;) {
      const header = decodeOptionReplyHeader(await this.source.take(20, "option reply"));
      const payload = (await this.source.take(header.lengthBytes, "payload")).slice();
      if (header.option !== option) throw new Error(`reply to option ${header.option} instead of ${option}`);
      if (isRefusal(header.type)) return { type: header.type, message: decodeRefusal(payload), payloads };
      if (header.type === OptionReply.ACK) return { type: header.type, message: "", payloads };
      payloads.push(payload);
    }
  }

  select(queries: readonly string[]): Promise<OptionAnswer> {
    return this.option(Option.SET_META_CONTEXT, encodeMetaContextQuery({ exportName: "x", queries }));
  }

  tryGo(exportName = "x", option: number = Option.GO): Promise<OptionAnswer> {
    return this.option(option, encodeExportQuery({ exportName, infoTypes: [] }));
  }

  /** Opens the export; gives its transmission flags. */
  async go(): Promise<number> {
    const { type, message, payloads } = await this.tryGo();
    if (type !== OptionReply.ACK) throw new Error(`refused: ${message}`);
    const info = payloads.map(decodeInfo).find((candidate) => candidate.type === Info.EXPORT);
    return info?.type === Info.EXPORT ? info.flags : 0;
  }

  /** Sends a request and nothing else; gives its cookie. */
  send(command: number, offsetBytes: number, lengthBytes: number, flags = 0, data?: Uint8Array): number {
    const low = this.#nextCookie++;
    const request = encodeRequest({ command, flags, cookie: { high: 0, low }, offsetBytes, lengthBytes });
    this.sink.send(request, data ?? new Uint8Array(0));
    return low;
  }

  /** Sends a request and takes its reply, which must be the next. */
  async ask(command: number, offsetBytes: number, lengthBytes: number, flags = 0, data?: Uint8Array): Promise<Answer> {
    const cookie = this.send(command, offsetBytes, lengthBytes, flags, data);
    const answer = await this.answer();
    if (answer.cookie !== cookie) throw new Error(`reply to ${answer.cookie} instead of ${cookie}`);
    return answer;
  }

  write(offsetBytes: number, data: Uint8Array, flags = 0): Promise<Answer> {
    return this.ask(1, offsetBytes, data.length, flags, data);
  }

  /** The next reply, of a connection with structured replies. */
  async answer(): Promise<Answer & { readonly cookie: number }> {
    const chunks: { type: number; payload: Uint8Array }[] = [];
    for (;;) {
      const start = await this.source.take(4, "reply");
      const rest = await this.source.take(replyHeaderBytes(start) - 4, "reply");
      const header = decodeReplyHeader(Buffer.concat([start, rest]));
      const cookie = header.cookie.low;
      if (header.kind === "simple") return { cookie, error: header.error, data: Buffer.alloc(0), chunks };
      const payload = (await this.source.take(header.lengthBytes, "payload")).slice();
      chunks.push({ type: header.type, payload });
      if (!header.done) continue;
      const failure = header.type === ChunkType.ERROR ? decodeChunkError(payload, false).error : 0;
      const data = chunks
        .filter(({ type }) => type === ChunkType.OFFSET_DATA)
        .map((chunk) => chunk.payload.subarray(8));
      return { cookie, error: failure, data: Buffer.concat(data), chunks };
    }
  }

  /** Ends the connection the way the protocol says. */
  leave(): void {
    this.send(Command.DISC, 0, 0);
    this.stream.end();
  }
}
