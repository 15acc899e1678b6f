// Reads the fields of one received message in order, and writes those of one to send. Big-endian, as all of NBD. Byte by byte:
// making a DataView costs more than all fields of a request.
// Invariant I12: no field is read past the end, and a message with anything behind its last field is refused.

import { TEXT_MAX_BYTES } from "./constants.ts";
import { NbdProtocolError } from "./errors.ts";

const TWO_32 = 0x1_0000_0000;
const UTF8 = new TextDecoder("utf-8", { fatal: true });

export class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** `what` names the message in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get restBytes(): number {
    return this.#bytes.length - this.#at;
  }

  u16(field: string): number {
    return u16At(this.#bytes, this.#take(2, field));
  }

  u32(field: string): number {
    return u32At(this.#bytes, this.#take(4, field));
  }

  /** A u64 that must be at most 2^53−1. */
  u64(field: string): number {
    const at = this.#take(8, field);
    const high = u32At(this.#bytes, at);
    if (high > 0x1f_ffff) this.fail(`${field} is larger than 2^53-1`);
    return high * TWO_32 + u32At(this.#bytes, at + 4);
  }

  /** A view of the next `lengthBytes` bytes, not a copy. */
  bytes(lengthBytes: number, field: string): Uint8Array {
    const at = this.#take(lengthBytes, field);
    return this.#bytes.subarray(at, at + lengthBytes);
  }

  /** UTF-8 of `lengthBytes` bytes, at most 4096, without a zero in it. */
  text(lengthBytes: number, field: string): string {
    return decodeText(this.bytes(checkedTextLength(lengthBytes, field, this.#what), field), field, this.#what);
  }

  /** Throws unless everything has been read. */
  end(): void {
    if (this.restBytes !== 0) this.fail(`${this.restBytes} bytes too many`);
  }

  fail(problem: string): never {
    throw new NbdProtocolError(this.#what, problem);
  }

  #take(lengthBytes: number, field: string): number {
    const at = this.#at;
    if (lengthBytes > this.restBytes) this.fail(`too short for its ${field}`);
    this.#at += lengthBytes;
    return at;
  }
}

const u16At = (bytes: Uint8Array, at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number);

const u32At = (bytes: Uint8Array, at: number): number => u16At(bytes, at) * 0x1_0000 + u16At(bytes, at + 2);

function checkedTextLength(lengthBytes: number, field: string, what: string): number {
  if (lengthBytes <= TEXT_MAX_BYTES) return lengthBytes;
  throw new NbdProtocolError(what, `${field} of ${lengthBytes} bytes, more than ${TEXT_MAX_BYTES}`);
}

function decodeText(bytes: Uint8Array, field: string, what: string): string {
  if (bytes.includes(0)) throw new NbdProtocolError(what, `${field} has a zero byte in it`);
  try {
    return UTF8.decode(bytes);
  } catch {
    throw new NbdProtocolError(what, `${field} is not UTF-8`);
  }
}

/** A text that is all of a message, or all that is left of it. */
export function wholeText(bytes: Uint8Array, field: string, what: string): string {
  return new FieldReader(bytes, what).text(bytes.length, field);
}

/** UTF-8 of a text to send. Throws NbdProtocolError when NBD can't carry it. */
export function encodeText(text: string, field: string): Uint8Array {
  const bytes = Buffer.from(text, "utf8");
  checkedTextLength(bytes.length, field, "message to send");
  if (bytes.includes(0)) throw new NbdProtocolError("message to send", `${field} has a zero byte in it`);
  return bytes;
}

/** Fills a message of a known size, field by field. */
export class FieldWriter {
  readonly bytes: Uint8Array;
  #at = 0;

  /** @param into how many bytes the message has, or the memory it is to begin in */
  constructor(into: number | Uint8Array) {
    this.bytes = typeof into === "number" ? new Uint8Array(into) : into;
  }

  u16(value: number): this {
    this.bytes[this.#at] = value >>> 8;
    this.bytes[this.#at + 1] = value;
    this.#at += 2;
    return this;
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff);
  }

  u64(value: number): this {
    return this.u32(Math.floor(value / TWO_32)).u32(value % TWO_32);
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
}
