// Whether the node at the other end of a new connection is the one we had: known by the UUIDs in its header, never by its
// address. And whether it still has what it said was flushed: of the newest flush one write is remembered and looked for again,
// which in the order of a commit is a root block (I1, I2).

import { toHex } from "../../base/uuid.ts";
import { ContentLostError } from "../../device/device.ts";
import { FormatError } from "../../format/format-error.ts";
import { decodeNodeHeader, NODE_HEADER_BYTES, NODE_HEADER_OFFSETS } from "../../format/node-header.ts";
import type { KeptWrites } from "./kept-writes.ts";
import { NbdRefusedError } from "./refused-error.ts";
import { dataOf, type Write } from "./transaction.ts";

/** Reads from a connection that serves nobody else yet. */
export type ReadNow = (offsetBytes: number, target: Uint8Array) => Promise<void>;

/** Whether something without an answer changes a part of the range. */
type IsChanging = (offsetBytes: number, lengthBytes: number) => boolean;

/** What a device without a header of ours is known by. */
const NOBODY = "";
const WITNESS_MAX_BYTES = 4096;

export class NodeIdentity {
  readonly #name: string;
  readonly #sizeBytes: number;
  /** By any of these the node may be known: a header that was written and not flushed may be there or not. */
  readonly #accepted = new Set<string>();
  #newest = NOBODY;
  #witness: { readonly offsetBytes: number; readonly bytes: Uint8Array } | undefined;

  constructor(name: string, sizeBytes: number) {
    this.#name = name;
    this.#sizeBytes = sizeBytes;
  }

  /** Takes the node for what it is now. */
  async meet(read: ReadNow): Promise<void> {
    this.#newest = await this.#found(read);
    this.#accepted.add(this.#newest);
  }

  /** A write is about to change the node; that of a header may make it another one. */
  written(write: Write): void {
    if (write.offsetBytes >= NODE_HEADER_BYTES) return;
    const whole = write.offsetBytes === 0 && dataOf(write).length >= NODE_HEADER_BYTES;
    this.#newest = whole ? this.#identityIn(dataOf(write).subarray(0, NODE_HEADER_BYTES), 0) : NOBODY;
    this.#accepted.add(this.#newest);
  }

  /** `write` was the newest that an acknowledged flush covers; `kept` are those after it, and some have no answer yet. */
  flushed(write: Write, kept: KeptWrites, isChanging: IsChanging): void {
    if (!kept.overlaps(0, NODE_HEADER_BYTES) && !isChanging(0, NODE_HEADER_BYTES)) {
      for (const identity of this.#accepted) if (identity !== this.#newest) this.#accepted.delete(identity);
    }
    // A copy: the memory of the write goes back to the pool.
    const bytes = new Uint8Array(dataOf(write).subarray(0, WITNESS_MAX_BYTES));
    this.#witness = bytes.length === 0 ? undefined : { offsetBytes: write.offsetBytes, bytes };
  }

  /** The range may read as anything from now on. */
  discarded(offsetBytes: number, lengthBytes: number): void {
    const witness = this.#witness;
    if (witness === undefined) return;
    const apart =
      witness.offsetBytes + witness.bytes.length <= offsetBytes || offsetBytes + lengthBytes <= witness.offsetBytes;
    if (!apart) this.#witness = undefined;
  }

  /** Makes sure that this is the node we have, in whatever state it is. Rejects with NbdRefusedError when it is another one. */
  async expect(read: ReadNow): Promise<void> {
    if (this.#accepted.has(await this.#found(read))) return;
    throw new NbdRefusedError("another-node", "another node answers there now, not the one that was here before");
  }

  /**
   * Makes sure that this is the node we had. Rejects with NbdRefusedError when it is another one, with ContentLostError when it
   * is the same and has gone back to an earlier state. `kept` may be there or not.
   */
  async recognise(read: ReadNow, kept: KeptWrites, isChanging: IsChanging): Promise<void> {
    await this.expect(read);
    const witness = this.#witness;
    if (witness === undefined) return;
    const { offsetBytes, bytes } = witness;
    if (kept.overlaps(offsetBytes, bytes.length) || isChanging(offsetBytes, bytes.length)) return;
    const found = new Uint8Array(bytes.length);
    await read(offsetBytes, found);
    if (Buffer.compare(found, bytes) === 0) return;
    const detail = "its server came back without what it had said was flushed";
    throw new ContentLostError(this.#name, "flush", offsetBytes, "EIO", detail);
  }

  async #found(read: ReadNow): Promise<string> {
    for (const offsetBytes of NODE_HEADER_OFFSETS) {
      if (offsetBytes + NODE_HEADER_BYTES > this.#sizeBytes) continue;
      const bytes = new Uint8Array(NODE_HEADER_BYTES);
      await read(offsetBytes, bytes);
      const identity = this.#identityIn(bytes, offsetBytes);
      if (identity !== NOBODY) return identity;
    }
    return NOBODY;
  }

  #identityIn(bytes: Uint8Array, offsetBytes: number): string {
    try {
      const { ranges } = decodeNodeHeader(bytes, offsetBytes, this.#name, this.#sizeBytes);
      return ranges.map(({ nodeUuid }) => toHex(nodeUuid)).join(" ");
    } catch (error) {
      if (error instanceof FormatError) return NOBODY;
      throw error;
    }
  }
}
