// Sparse bytes in memory for the simulated device. A fork costs nothing until it is written to: pages are shared with
// the frozen images below, so that a crash test can try tens of thousands of variants of one disk.

import xxhash from "xxhash-wasm";
import { assert } from "../base/assert.ts";
import { isZero } from "../base/uuid.ts";

export const PAGE_BYTES = 4096;
/** Forks deeper than this are flattened: each level costs one map lookup on a page that is not there. */
const DEPTH_MAX = 4;

const { h64Raw } = await xxhash();

/** What a page adds to the digest of its image; nothing when it is zero, so that absent and zero are the same. */
function pageDigest(index: number, page: Uint8Array): bigint {
  return isZero(page) ? 0n : h64Raw(page, BigInt(index));
}

export class PagedImage {
  readonly sizeBytes: number;
  readonly #pages: Map<number, Uint8Array>;
  #base: PagedImage | undefined;
  readonly #depth: number;
  /** Pages shared with a flattened base: copied before the first write. */
  readonly #borrowed: Set<number>;
  #frozen = false;
  /** Pages of the images below that were looked at through this one; noted in watched images only. */
  #seen: Set<number> | undefined;
  /** Known once frozen and asked for. */
  #digest: bigint | undefined;

  constructor(sizeBytes: number, base?: PagedImage) {
    this.sizeBytes = sizeBytes;
    if (base !== undefined && base.#depth >= DEPTH_MAX) {
      this.#pages = new Map();
      this.#base = base.#flattenInto(this.#pages);
    } else {
      this.#pages = new Map();
      this.#base = base;
    }
    this.#borrowed = new Set(this.#pages.keys());
    this.#depth = this.#base === undefined ? 0 : this.#base.#depth + 1;
  }

  /** True once forked: nothing may change under the forks. */
  get frozen(): boolean {
    return this.#frozen;
  }

  /** A writable image with this content. From now on this one can't be written to. */
  fork(): PagedImage {
    this.#frozen = true;
    return new PagedImage(this.sizeBytes, this);
  }

  /** A writable image with this content, and no tie to this one, which may go on being written. */
  copy(): PagedImage {
    const copy = new PagedImage(this.sizeBytes, this.#base);
    for (const [index, page] of this.#pages) copy.#replace(index, page);
    return copy;
  }

  /** As `fork`, an image that notes which pages are looked at in it and in its forks. */
  watched(): PagedImage {
    this.#frozen = true;
    // Nothing of its own, not even borrowed: whatever is looked at is looked for below.
    const image = new PagedImage(this.sizeBytes);
    image.#base = this;
    image.#seen = new Set();
    return image;
  }

  /** Pages of what a watched image was made from that anybody looked at, in order. */
  get seen(): ReadonlySet<number> {
    assert(this.#seen !== undefined, "an image that is not watched is asked what was seen of it");
    return this.#seen;
  }

  /** True when `other` has the same content in each of the `pages`. */
  agrees(other: PagedImage, pages: ReadonlySet<number>): boolean {
    const differs = (index: number): boolean => pages.has(index) && !samePage(this.#find(index), other.#find(index));
    // Where they are likely to differ first: in what was written to each of them last.
    for (const index of this.#pages.keys()) if (differs(index)) return false;
    for (const index of other.#pages.keys()) if (differs(index)) return false;
    for (const index of pages) if (differs(index)) return false;
    return true;
  }

  read(offsetBytes: number, target: Uint8Array): void {
    let at = offsetBytes;
    let done = 0;
    while (done < target.length) {
      const within = at % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - within, target.length - done);
      const page = this.#find((at - within) / PAGE_BYTES);
      if (page === undefined) target.fill(0, done, done + length);
      else target.set(length === PAGE_BYTES ? page : page.subarray(within, within + length), done);
      done += length;
      at += length;
    }
  }

  write(offsetBytes: number, source: Uint8Array): void {
    assert(!this.#frozen, "write to a forked image");
    let at = offsetBytes;
    let done = 0;
    while (done < source.length) {
      const within = at % PAGE_BYTES;
      const length = Math.min(PAGE_BYTES - within, source.length - done);
      const index = (at - within) / PAGE_BYTES;
      if (length === PAGE_BYTES) this.#replace(index, source.subarray(done, done + length));
      else this.#own(index).set(source.subarray(done, done + length), within);
      done += length;
      at += length;
    }
  }

  /** 64 bits that follow from the content alone, however the image came by it. Costs what changed since the last fork. */
  digest(): bigint {
    if (this.#digest !== undefined) return this.#digest;
    let digest = this.#base?.digest() ?? 0n;
    for (const [index, page] of this.#pages) {
      const under = this.#inherited(index);
      if (under !== undefined) digest ^= pageDigest(index, under);
      digest ^= pageDigest(index, page);
    }
    if (this.#frozen) this.#digest = digest;
    return digest;
  }

  /** Changes one bit, as rot does. */
  flipBit(offsetBytes: number, bit: number): void {
    assert(!this.#frozen, "bit flipped in a forked image");
    const page = this.#own(Math.floor(offsetBytes / PAGE_BYTES));
    const at = offsetBytes % PAGE_BYTES;
    page[at] = (page[at] as number) ^ (1 << bit);
  }

  #find(index: number): Uint8Array | undefined {
    return this.#pages.get(index) ?? this.#inherited(index);
  }

  #inherited(index: number): Uint8Array | undefined {
    this.#seen?.add(index);
    return this.#base === undefined ? undefined : this.#base.#find(index);
  }

  #own(index: number): Uint8Array {
    const own = this.#pages.get(index);
    if (own !== undefined && !this.#borrowed.has(index)) return own;
    const page = (own ?? this.#inherited(index))?.slice() ?? new Uint8Array(PAGE_BYTES);
    this.#pages.set(index, page);
    this.#borrowed.delete(index);
    return page;
  }

  #replace(index: number, page: Uint8Array): void {
    const own = this.#pages.get(index);
    if (own !== undefined && !this.#borrowed.has(index)) own.set(page);
    else {
      this.#pages.set(index, new Uint8Array(page));
      this.#borrowed.delete(index);
    }
  }

  /** Puts all pages of this image and those below it into `pages`, down to a watched one, which is what is left below. */
  #flattenInto(pages: Map<number, Uint8Array>): PagedImage | undefined {
    if (this.#seen !== undefined) return this;
    const below = this.#base === undefined ? undefined : this.#base.#flattenInto(pages);
    for (const [index, page] of this.#pages) pages.set(index, page);
    return below;
  }
}

function samePage(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return isZero((a ?? b) as Uint8Array);
  return Buffer.compare(a, b) === 0;
}
