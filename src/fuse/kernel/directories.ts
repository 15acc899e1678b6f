// Listing a directory, with or without attributes. The list is prepared in the request's own buffer, because a listing that has
// to wait for blocks is begun again while other answers are sent.

import { after, type Eventually } from "../../base/eventually.ts";
import { readU64, writeU64 } from "../../base/integers.ts";
import { COOKIE_AFTER_DOTS } from "../../posix/listing.ts";
import type { Attributes, DirectoryEntry } from "../../posix/requests.ts";
import { Opcode } from "./abi.ts";
import { type Operation, type OperationContext, operation } from "./operation.ts";
import { writeEntry } from "./reply.ts";
import type { Request } from "./request.ts";
import { Dirent, DirentPlus, EntryOut, ReadIn } from "./structures.ts";

/** A listing of limited size, filled in the kernel's form. */
class Listing {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limitBytes: number;
  readonly #withAttributes: boolean;
  #used = 0;
  /** An entry got no attributes although the kernel takes them. */
  leftOut = false;

  constructor(room: Uint8Array, limitBytes: number, withAttributes: boolean) {
    this.#bytes = room;
    this.#view = new DataView(room.buffer, room.byteOffset, room.byteLength);
    this.#limitBytes = Math.min(limitBytes, room.length);
    this.#withAttributes = withAttributes;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }

  reset(): void {
    this.#used = 0;
    this.leftOut = false;
  }

  /** False when there is no room left for the entry. */
  add(entry: DirectoryEntry, attributes: Attributes | undefined): boolean {
    const at = this.#used;
    const dirent = this.#withAttributes ? at + DirentPlus.dirent : at;
    const name = dirent + Dirent.sizeBytes;
    const next = name + ((entry.name.length + 7) & ~7);
    if (next > this.#limitBytes) return false;
    this.#bytes.fill(0, at, next);
    // Without attributes the node is 0: the kernel then takes the name alone and no lookup was counted.
    if (attributes !== undefined) writeEntry(this.#view, at + DirentPlus.entry, attributes);
    else if (this.#withAttributes && entry.cookie > COOKIE_AFTER_DOTS) this.leftOut = true;
    writeU64(this.#view, dirent + Dirent.ino, entry.ino);
    writeU64(this.#view, dirent + Dirent.off, entry.cookie);
    this.#view.setUint32(dirent + Dirent.namelen, entry.name.length, true);
    this.#view.setUint32(dirent + Dirent.type, entry.type, true);
    this.#bytes.set(entry.name, name);
    this.#used = next;
    return true;
  }

  /** Nodes of which this listing carries a lookup. */
  *nodes(): Iterable<number> {
    let at = 0;
    while (this.#withAttributes && at < this.#used) {
      const node = readU64(this.#view, at + DirentPlus.entry + EntryOut.nodeid);
      if (node !== 0) yield node;
      const nameBytes = this.#view.getUint32(at + DirentPlus.dirent + Dirent.namelen, true);
      at += DirentPlus.sizeBytes + ((nameBytes + 7) & ~7);
    }
  }
}

function list({ fs, habit }: OperationContext, request: Request, withAttributes: boolean): Eventually<Listing> {
  const listing = new Listing(request.room, request.u32(ReadIn.size), withAttributes);
  const offset = request.u64(ReadIn.offset);
  const done = fs.readDirectory(
    request.nodeid,
    offset,
    habit.wanted(offset, withAttributes),
    () => listing.reset(),
    (entry, attributes) => listing.add(entry, attributes),
  );
  return after(done, () => {
    if (listing.leftOut) habit.leftOut();
    return listing;
  });
}

function listOperation(withAttributes: boolean): Operation {
  return operation<Listing>({
    bodyBytes: ReadIn.sizeBytes,
    run: (context, request) => list(context, request, withAttributes),
    encode: (reply, listing) => reply.data(listing.bytes),
    undelivered({ fs }, listing) {
      for (const node of listing.nodes()) fs.forget(node, 1);
    },
  });
}

export const DIRECTORY_OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [Opcode.READDIR, listOperation(false)],
  [Opcode.READDIRPLUS, listOperation(true)],
]);
