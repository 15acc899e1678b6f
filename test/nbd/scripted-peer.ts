// A server for tests that does what its script says: on a real socket, with an image in memory that loses what was not
// flushed when the power goes. Every message it is about to send passes through the script, which may let it go, cut the
// connection before or in the middle of it, hold it back, or send something else.

import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { ByteSource } from "../../src/nbd/wire/byte-source.ts";
import { encodeDataOffset, encodeHole } from "../../src/nbd/wire/chunk.ts";
import {
  ChunkType,
  Command,
  HandshakeFlag,
  Info,
  Option,
  OptionReply,
  TransmissionFlag,
  WireError,
} from "../../src/nbd/wire/constants.ts";
import { CLIENT_FLAGS_BYTES, encodeGreeting } from "../../src/nbd/wire/greeting.ts";
import { encodeInfo } from "../../src/nbd/wire/info.ts";
import { decodeOptionHeader, OPTION_HEADER_BYTES } from "../../src/nbd/wire/option.ts";
import { encodeOptionReply } from "../../src/nbd/wire/option-reply.ts";
import { encodeChunk, encodeSimpleReply } from "../../src/nbd/wire/reply.ts";
import { decodeRequest, type Request, REQUEST_BYTES } from "../../src/nbd/wire/request.ts";

/** One message about to be sent. */
export interface Outgoing {
  /** Counted from 0 over all connections. */
  readonly number: number;
  /** Which connection it goes by, counted from 1. */
  readonly connection: number;
  /** What it answers; undefined in the negotiation. */
  readonly request: Request | undefined;
  readonly bytes: Uint8Array;
}

export type Act = "send" | "cut" | "cut-in-the-middle" | "drop" | Uint8Array | Promise<void>;

/** A way to the peer, over TCP. */
export interface PeerRoute {
  readonly port: number;
  /** Every message takes so long. */
  delayMs: number;
  /** Nothing comes through. */
  mute: boolean;
}

export interface PeerOptions {
  readonly path: string;
  /** Beside the socket. */
  readonly routes?: readonly PeerRoute[];
  readonly sizeBytes: number;
  readonly structured?: boolean;
  readonly flags?: number;
}

export const ALL_FLAGS =
  TransmissionFlag.HAS_FLAGS |
  TransmissionFlag.SEND_FLUSH |
  TransmissionFlag.SEND_FUA |
  TransmissionFlag.SEND_TRIM |
  TransmissionFlag.SEND_WRITE_ZEROES;

export class ScriptedPeer {
  readonly target: string;
  /** What the script does with each message; all are sent unless it says otherwise. */
  script: (message: Outgoing) => Act = () => "send";
  /** Requests received, with the data of writes. */
  readonly requests: (Request & { readonly data: Uint8Array })[] = [];
  /** Messages sent or held back so far. */
  messages = 0;
  connections = 0;
  readonly #options: PeerOptions;
  readonly #sockets = new Set<Socket>();
  /** What a read gives, and what a power cut leaves. */
  #volatile: Buffer;
  #durable: Buffer;
  #servers: Server[] = [];

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#volatile = Buffer.alloc(options.sizeBytes);
    this.#durable = Buffer.alloc(options.sizeBytes);
    this.target = `nbd+unix:///x?socket=${options.path}`;
  }

  async listen(): Promise<void> {
    rmSync(this.#options.path, { force: true });
    const listen = async (
      where: { path: string } | { host: string; port: number },
      route?: PeerRoute,
    ): Promise<void> => {
      const server = createServer((socket) => void this.#serve(socket, route).catch(() => socket.destroy()));
      this.#servers.push(server.listen(where));
      await once(server, "listening");
    };
    await listen({ path: this.#options.path });
    for (const route of this.#options.routes ?? []) await listen({ host: "127.0.0.1", port: route.port }, route);
  }

  /** Ends all connections; with `powerLost` what was not flushed is gone. */
  cut(powerLost: boolean): void {
    for (const socket of this.#sockets) socket.destroy();
    if (powerLost) this.forget();
  }

  /** What was not flushed is gone. */
  forget(): void {
    this.#volatile = Buffer.from(this.#durable);
  }

  async close(): Promise<void> {
    this.cut(false);
    for (const server of this.#servers.splice(0)) {
      server.close();
      await once(server, "close");
    }
  }

  /** What lies on it: durably, or as a read gives it. */
  content(durable = false): Buffer {
    return durable ? this.#durable : this.#volatile;
  }

  /** Becomes another device, or an older state of this one. */
  replaceContent(content: Uint8Array): void {
    this.#volatile = Buffer.from(content);
    this.#durable = Buffer.from(content);
  }

  async #serve(socket: Socket, route?: PeerRoute): Promise<void> {
    const connection = ++this.connections;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket)).on("error", () => undefined);
    const source = new ByteSource(socket);
    const send = (request: Request | undefined, bytes: Uint8Array): void => {
      if (route?.mute === true) return;
      if (route === undefined || route.delayMs === 0) return this.#send(socket, connection, request, bytes);
      setTimeout(() => this.#send(socket, connection, request, bytes), route.delayMs);
    };
    send(undefined, encodeGreeting(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES));
    await source.take(CLIENT_FLAGS_BYTES, "flags");
    let structured = false;
    for (;;) {
      const { option, lengthBytes } = decodeOptionHeader((await source.take(OPTION_HEADER_BYTES, "option")).slice());
      await source.skip(lengthBytes, "data");
      const reply = (type: number, payload?: Uint8Array): void =>
        send(undefined, encodeOptionReply(option, type, payload));
      if (option === Option.STRUCTURED_REPLY && this.#options.structured === true) {
        structured = true;
        reply(OptionReply.ACK);
      } else if (option === Option.GO || option === Option.INFO) {
        const { sizeBytes, flags = ALL_FLAGS } = this.#options;
        reply(OptionReply.INFO, encodeInfo({ type: Info.EXPORT, sizeBytes, flags }));
        reply(OptionReply.ACK);
        if (option === Option.GO) break;
      } else if (option === Option.SET_META_CONTEXT) reply(OptionReply.ACK);
      else reply(OptionReply.ERR_UNSUP);
    }
    for (;;) {
      const request = decodeRequest((await source.take(REQUEST_BYTES, "request")).slice());
      const isWrite = request.command === Command.WRITE;
      const data = (await source.take(isWrite ? request.lengthBytes : 0, "data")).slice();
      if (route?.mute === true) continue;
      this.requests.push({ ...request, data });
      if (request.command === Command.DISC) return void socket.end();
      this.#carryOut(request, data);
      for (const bytes of this.#answers(request, structured)) send(request, bytes);
    }
  }

  #carryOut({ command, flags, offsetBytes, lengthBytes }: Request, data: Uint8Array): void {
    if (command === Command.WRITE) this.#volatile.set(data, offsetBytes);
    if (command === Command.WRITE_ZEROES) this.#volatile.fill(0, offsetBytes, offsetBytes + lengthBytes);
    if (command === Command.FLUSH) this.#durable = Buffer.from(this.#volatile);
    if ((flags & 1) !== 0) this.#volatile.copy(this.#durable, offsetBytes, offsetBytes, offsetBytes + lengthBytes);
  }

  #answers({ command, cookie, offsetBytes, lengthBytes }: Request, structured: boolean): Uint8Array[] {
    const known: readonly number[] = [
      ...[Command.READ, Command.WRITE, Command.FLUSH, Command.TRIM, Command.WRITE_ZEROES],
    ];
    if (!known.includes(command)) return [encodeSimpleReply(WireError.EINVAL, cookie)];
    if (command !== Command.READ) return [encodeSimpleReply(0, cookie)];
    const data = this.#volatile.subarray(offsetBytes, offsetBytes + lengthBytes);
    if (!structured) return [Buffer.concat([encodeSimpleReply(0, cookie), data])];
    // Backwards and in halves, holes where it reads as zero: what a server may do.
    const half = lengthBytes >>> 1;
    const parts =
      half === 0
        ? [[0, lengthBytes]]
        : [
            [half, lengthBytes],
            [0, half],
          ];
    return parts.map(([from = 0, to = 0], i) => {
      const at = offsetBytes + from;
      const part = data.subarray(from, to);
      const isHole = part.every((byte) => byte === 0);
      const payload = isHole
        ? encodeHole({ offsetBytes: at, lengthBytes: to - from })
        : Buffer.concat([encodeDataOffset(at), part]);
      const type = isHole ? ChunkType.OFFSET_HOLE : ChunkType.OFFSET_DATA;
      return encodeChunk(type, cookie, i === parts.length - 1, payload);
    });
  }

  #send(socket: Socket, connection: number, request: Request | undefined, bytes: Uint8Array): void {
    const act = this.script({ number: this.messages++, connection, request, bytes });
    if (act instanceof Promise) void act.then(() => socket.write(bytes));
    else if (act instanceof Uint8Array) socket.write(act);
    else if (act === "send") socket.write(bytes);
    else if (act === "cut") socket.destroy();
    else if (act === "cut-in-the-middle") socket.write(bytes.subarray(0, bytes.length >>> 1), () => socket.destroy());
  }
}
