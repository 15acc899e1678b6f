// Described operations as bytes, for the log and the journal, and back. record-kinds.ts says which fields each kind has.
// The content of a write is left out where a whole block of it went to its own new place on every copy already: the record names
// that block then.
// Invariants: I4 (what was read back is the operation that was carried out, all inputs included), I12.

import { assert } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import { COPIES_MAX, DATA_WINDOW_BYTES } from "../format/geometry.ts";
import type { EarlyBlock } from "../tree/early-block.ts";
import type { Operation, OperationResult } from "./operation.ts";
import { RECORD_KINDS, type RecordFieldType, RESULT_KIND } from "./record-kinds.ts";

const NUMBER_OF = new Map(RECORD_KINDS.map(([op], number) => [op, number]));
/** Length (u32), kind (u8), number of early blocks (u8), request (f64). */
const HEAD_BYTES = 14;
const WRITE_BYTES_MAX = 1024 * 1024;

/** A record read back: an operation, or what one gave whose answer may be owed still. */
export interface Recorded {
  /** Content that lies in an early block is not here: zero in `data` of a write. Undefined in the record of a result. */
  readonly operation: Operation | undefined;
  readonly result?: OperationResult;
  /** The kernel's id of the request it was part of, 0 for none. */
  readonly requestId: number;
  readonly early: readonly EarlyBlock[];
  /** Where its record begins in the stream, and where it ends. */
  readonly beginBytes: number;
  readonly endBytes: number;
}

/** Encodes operations; one buffer serves them all, so what it returns is valid until the next call. */
export class Recorder {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  /** The record of an operation that was carried out, in pieces. `early`: whole blocks of it that went out already. */
  encode(operation: Operation, requestId: number, early: readonly EarlyBlock[]): readonly Uint8Array[] {
    const kind = NUMBER_OF.get(operation.op);
    assert(kind !== undefined, `operation ${operation.op} can't be logged`);
    this.#at = HEAD_BYTES;
    const values = operation as unknown as Record<string, unknown>;
    for (const [name, type, presence] of (RECORD_KINDS[kind] as (typeof RECORD_KINDS)[number])[1]) {
      const value = values[name];
      if (presence === "optional") this.#u8(value === undefined ? 0 : 1);
      if (value !== undefined) this.#field(type, value);
    }
    const pieces: Uint8Array[] = [];
    let lengthBytes = 0;
    if (operation.op === "write") {
      this.#f64(operation.data.length);
      for (const block of early) this.#early(block);
      for (const piece of inlinePieces(operation.offset, operation.data, early)) {
        pieces.push(piece);
        lengthBytes += piece.length;
      }
    }
    lengthBytes += this.#at;
    this.#view.setUint32(0, lengthBytes, true);
    this.#view.setUint8(4, kind);
    this.#view.setUint8(5, early.length);
    this.#view.setFloat64(6, requestId, true);
    pieces.unshift(this.#bytes.subarray(0, this.#at));
    return pieces;
  }

  /** The record of what an operation gave that is in a root already, for as long as the kernel may ask for it again. */
  encodeResult(requestId: number, result: OperationResult): readonly Uint8Array[] {
    this.#at = HEAD_BYTES;
    this.#blob(Buffer.from(JSON.stringify(result)));
    this.#view.setUint32(0, this.#at, true);
    this.#view.setUint8(4, RESULT_KIND);
    this.#view.setUint8(5, 0);
    this.#view.setFloat64(6, requestId, true);
    return [this.#bytes.subarray(0, this.#at)];
  }

  #room(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) {
      const more = new Uint8Array(2 * this.#at);
      more.set(this.#bytes);
      this.#bytes = more;
      this.#view = new DataView(more.buffer);
    }
    return at;
  }

  #u8(value: number): void {
    const at = this.#room(1);
    this.#view.setUint8(at, value);
  }

  /** What can't be read back must not be acknowledged: any other number would cost the whole log. */
  #f64(value: number): void {
    assert(Number.isSafeInteger(value), `${value} can't be logged`);
    const at = this.#room(8);
    this.#view.setFloat64(at, value, true);
  }

  #blob(value: Uint8Array): void {
    const at = this.#room(4 + value.length);
    this.#view.setUint32(at, value.length, true);
    this.#bytes.set(value, at + 4);
  }

  #field(type: RecordFieldType, value: unknown): void {
    switch (type) {
      case "number":
        return this.#f64(value as number);
      case "boolean":
        return this.#u8(value === true ? 1 : 0);
      case "bytes":
        return this.#blob(value as Uint8Array);
      case "latin1":
        return this.#blob(Buffer.from(value as string, "latin1"));
      case "time": {
        const { sec, nsec } = value as { sec: number; nsec: number };
        this.#f64(sec);
        return this.#f64(nsec);
      }
    }
  }

  #early({ key, pointers, check }: EarlyBlock): void {
    this.#f64(key);
    for (let copy = 0; copy < COPIES_MAX; copy++) this.#f64(pointers[copy] ?? 0);
    const at = this.#room(CHECK_BYTES_MAX);
    this.#bytes.set(check, at);
  }
}

/** Those parts of `data`, which is written at `offset`, that lie in no early block. */
function* inlinePieces(offset: number, data: Uint8Array, early: readonly EarlyBlock[]): Generator<Uint8Array> {
  let at = offset;
  for (const { key } of early) {
    if (key > at) yield data.subarray(at - offset, key - offset);
    at = key + DATA_WINDOW_BYTES;
  }
  if (at < offset + data.length) yield data.subarray(at - offset);
}

/** The records of a stream, in order; what a torn record leaves at the end is no record. Throws FsError EIO for nonsense. */
export function* readRecords(stream: Uint8Array): Generator<Recorded> {
  const reader = new Reader(stream);
  for (;;) {
    const record = reader.next();
    if (record === undefined) return;
    yield record;
  }
}

/** The content of writes of which all is in blocks that their records name; never changed. */
const NAMED_ONLY = new Uint8Array(WRITE_BYTES_MAX);

const nonsense = (): FsError => new FsError("EIO", "a record of the log makes no sense; run fsck.h2ts");

/** Reads record after record. Content of writes is not copied: it stays a part of the stream where it can. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Where the record at hand is read on, and where it ends. */
  #at = 0;
  #end = 0;

  constructor(stream: Uint8Array) {
    this.#bytes = stream;
    this.#view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  }

  /** Undefined where no whole record is left. */
  next(): Recorded | undefined {
    const from = this.#end;
    if (from + HEAD_BYTES > this.#bytes.length) return undefined;
    const lengthBytes = this.#view.getUint32(from, true);
    if (lengthBytes < HEAD_BYTES) throw nonsense();
    const endBytes = from + lengthBytes;
    if (endBytes > this.#bytes.length) return undefined;
    this.#at = from + HEAD_BYTES;
    this.#end = endBytes;
    const kind = this.#view.getUint8(from + 4);
    const requestId = this.#view.getFloat64(from + 6, true);
    const place = { requestId, beginBytes: from, endBytes };
    if (kind === RESULT_KIND) return { operation: undefined, result: this.#result(), early: [], ...place };
    return { ...this.#operation(kind, this.#view.getUint8(from + 5)), ...place };
  }

  #operation(number: number, earlyCount: number): Pick<Recorded, "operation" | "early"> {
    const kind = RECORD_KINDS[number];
    if (kind === undefined) throw nonsense();
    const [op, fields] = kind;
    const values: Record<string, unknown> = { op };
    for (const [name, type, presence] of fields) {
      if (presence === "optional" && this.#u8() === 0) continue;
      values[name] = this.#field(type);
    }
    const early: EarlyBlock[] = [];
    if (op === "write") values["data"] = this.#content(values["offset"] as number, earlyCount, early);
    if (this.#at !== this.#end) throw nonsense();
    return { operation: values as unknown as Operation, early };
  }

  #result(): OperationResult {
    const text = Buffer.from(this.#blob()).toString();
    if (this.#at !== this.#end) throw nonsense();
    try {
      return JSON.parse(text) as OperationResult;
    } catch {
      throw nonsense();
    }
  }

  #take(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#end) throw nonsense();
    return at;
  }

  #u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  #number(): number {
    const value = this.#view.getFloat64(this.#take(8), true);
    if (!Number.isSafeInteger(value)) throw nonsense();
    return value;
  }

  #blob(): Uint8Array {
    const length = this.#view.getUint32(this.#take(4), true);
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }

  #field(type: RecordFieldType): unknown {
    switch (type) {
      case "number":
        return this.#number();
      case "boolean":
        return this.#u8() === 1;
      case "bytes":
        return this.#blob();
      case "latin1":
        return Buffer.from(this.#blob()).toString("latin1");
      case "time":
        return { sec: this.#number(), nsec: this.#number() };
    }
  }

  #content(offset: number, earlyCount: number, early: EarlyBlock[]): Uint8Array {
    const lengthBytes = this.#number();
    if (lengthBytes < 0 || lengthBytes > WRITE_BYTES_MAX) throw nonsense();
    if (earlyCount === 0) {
      const at = this.#take(lengthBytes);
      return this.#bytes.subarray(at, at + lengthBytes);
    }
    for (let i = 0; i < earlyCount; i++) early.push(this.#early());
    // Of blocks that are named nobody looks at the content here: a long log must not take as much memory as it names.
    const isNamed = early.every(({ key }, i) => key === offset + i * DATA_WINDOW_BYTES);
    if (isNamed && early.length * DATA_WINDOW_BYTES === lengthBytes) return NAMED_ONLY.subarray(0, lengthBytes);
    const data = new Uint8Array(lengthBytes);
    let at = 0;
    const inline = (to: number): void => {
      if (to < at || to > lengthBytes) throw nonsense();
      const from = this.#take(to - at);
      data.set(this.#bytes.subarray(from, from + to - at), at);
    };
    for (const { key } of early) {
      inline(key - offset);
      at = key - offset + DATA_WINDOW_BYTES;
    }
    inline(lengthBytes);
    return data;
  }

  #early(): EarlyBlock {
    const key = this.#number();
    const pointers: number[] = [];
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = this.#number();
      if (kib < 0 || kib % (DATA_WINDOW_BYTES / 1024) !== 0) throw nonsense();
      pointers.push(kib);
    }
    const at = this.#take(CHECK_BYTES_MAX);
    return { key, pointers, check: this.#bytes.slice(at, at + CHECK_BYTES_MAX) };
  }
}
