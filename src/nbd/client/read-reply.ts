// The data of one READ as it comes in chunks, in any order. Invariant I12: each byte comes exactly once, and all of them do.

import { NbdProtocolError } from "../wire/errors.ts";
import type { Hole } from "../wire/chunk.ts";
import type { Transaction } from "./transaction.ts";

/** A server that answers in more pieces than this, out of order, is up to no good. */
const PARTS_MAX = 4096;

interface Part {
  readonly from: number;
  readonly to: number;
}

export class ReadReply {
  readonly #transaction: Transaction;
  /** Sorted, none touches the next. */
  #parts: Part[] = [];

  constructor(transaction: Transaction) {
    this.#transaction = transaction;
  }

  /** Where data of a chunk goes. Throws NbdProtocolError when it was not asked for, or has come before. */
  data(offsetBytes: number, lengthBytes: number): Uint8Array[] {
    const from = this.#claim(offsetBytes, lengthBytes);
    return slicesOf(this.#transaction.targets, from, from + lengthBytes);
  }

  hole({ offsetBytes, lengthBytes }: Hole): void {
    for (const target of this.data(offsetBytes, lengthBytes)) target.fill(0);
  }

  /** Throws NbdProtocolError unless everything has come. */
  end(): void {
    const [only, ...more] = this.#parts;
    if (only?.from !== 0 || only.to !== this.#transaction.lengthBytes || more.length > 0)
      throw new NbdProtocolError("reply to READ", "parts of the data are missing");
  }

  #claim(offsetBytes: number, lengthBytes: number): number {
    const from = offsetBytes - this.#transaction.offsetBytes;
    const to = from + lengthBytes;
    if (from < 0 || to > this.#transaction.lengthBytes)
      throw new NbdProtocolError("reply to READ", `${lengthBytes} bytes at ${offsetBytes} were not asked for`);
    const parts: Part[] = [];
    let added: Part = { from, to };
    for (const part of this.#parts) {
      if (part.from < to && from < part.to) throw new NbdProtocolError("reply to READ", "some data comes twice");
      if (part.to === added.from) added = { from: part.from, to: added.to };
      else if (part.from === added.to) added = { from: added.from, to: part.to };
      else parts.push(part);
    }
    parts.push(added);
    if (parts.length > PARTS_MAX) throw new NbdProtocolError("reply to READ", "it comes in too many pieces");
    this.#parts = parts.sort((a, b) => a.from - b.from);
    return from;
  }
}

/** The bytes `from` to `to` of buffers that follow one another. */
export function slicesOf(buffers: readonly Uint8Array[], from: number, to: number): Uint8Array[] {
  const [first] = buffers;
  if (buffers.length === 1 && first !== undefined && from === 0 && to === first.length) return [first];
  const slices: Uint8Array[] = [];
  let at = 0;
  for (const buffer of buffers) {
    const start = Math.max(from - at, 0);
    const end = Math.min(to - at, buffer.length);
    if (start < end) slices.push(start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end));
    at += buffer.length;
    if (at >= to) break;
  }
  return slices;
}
