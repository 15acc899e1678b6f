// A write inside one 64 KiB window of a file. What it does to the blocks there decides how fast and how fragmented a
// file becomes: whole windows become one block without a read; a tail grows by doubling while that is cheap; a small
// change of a large block splits it into 4 KiB blocks, so that the next one costs 4 KiB; blocks that are overwritten
// whole, or past the end of the file, are never read.

import { alignDown, alignUp } from "../base/integers.ts";
import { BLOCK_MIN_BYTES, DATA_WINDOW_BYTES } from "../format/geometry.ts";
import { type Extent, type FileData, type Source, ZEROS, blockSizeFor } from "./file-data.ts";

const PAGE_BYTES = 4096;
/** A clean block up to this size is read and written again to be made longer; a larger one is left as it is. */
const CLEAN_GROWTH_MAX_BYTES = 16384;
/** A clean block from this size on is split by changes of at most this size and at most a quarter of it. */
const SPLIT_MIN_BYTES = 32768;
const SMALL_CHANGE_MAX_BYTES = 16384;

/** Bytes to be written, and the size of the file before and after. */
export interface WindowWrite {
  readonly source: Source;
  readonly oldSize: number;
  readonly newSize: number;
  /** The writer goes on after this window or at the end of the file: a full block will not be changed again soon. */
  readonly streaming: boolean;
}

export function writeWindow(data: FileData, write: WindowWrite): void {
  const { source, oldSize } = write;
  const from = source.at;
  const to = from + source.bytes.length;
  const window = alignDown(from, DATA_WINDOW_BYTES);
  const windowEnd = window + DATA_WINDOW_BYTES;
  let extents = data.window(window);
  if (to - from === DATA_WINDOW_BYTES) {
    for (const { key } of extents) if (key !== window) data.remove(key);
    data.insertWindow(window, source.bytes, extents[0]?.key === window);
    return;
  }
  const kept: Extent[] = [];
  let rearranged = false;
  for (const extent of extents) {
    const { key, end, sizeBytes } = extent;
    if (end <= from || key >= to) {
      kept.push(extent);
    } else if (key >= from && (end <= to || to >= oldSize)) {
      // Nothing of its content is left: no reason to read it.
      if (key === from && end >= to && blockSizeFor(to - key) === sizeBytes) {
        rearranged = rewrite(data, extent, source) || rearranged;
        kept.push(extent);
      } else {
        data.remove(key);
      }
    } else {
      rearranged = change(data, extent, write) || rearranged;
      kept.push(extent);
    }
  }
  extents = rearranged ? data.window(window) : kept;
  fillGaps(data, extents, write, window, windowEnd);
}

/** Writes a block whole; true when it became several. */
function rewrite(data: FileData, extent: Extent, source: Source): boolean {
  const { key, sizeBytes, fresh } = extent;
  if (!fresh) return !data.replace(key, sizeBytes, [source]);
  const { bytes } = data.edit(key);
  bytes.set(source.bytes);
  bytes.fill(0, source.bytes.length);
  return false;
}

/** Changes a part of a block; true when it became several. */
function change(data: FileData, extent: Extent, write: WindowWrite): boolean {
  const { source } = write;
  const { key, end, sizeBytes } = extent;
  const from = Math.max(source.at, key);
  const to = Math.min(source.at + source.bytes.length, end);
  if (extent.fresh) {
    data.edit(key).bytes.set(source.bytes.subarray(from - source.at, to - source.at), from - key);
    if (write.streaming && sizeBytes === DATA_WINDOW_BYTES && to === end) data.writeEarly(key);
    return false;
  }
  const old = { bytes: data.bytes(key), at: key };
  if (sizeBytes < SPLIT_MIN_BYTES || to - from > Math.min(SMALL_CHANGE_MAX_BYTES, sizeBytes / 4)) {
    return !data.replace(key, sizeBytes, [old, source]);
  }
  data.replace(key, PAGE_BYTES, [old, source]);
  for (let page = key + PAGE_BYTES; page < Math.min(end, write.newSize); page += PAGE_BYTES) {
    data.insert(page, PAGE_BYTES, [old, source]);
  }
  return true;
}

/** Covers those parts of the write that lie in no block. `extents` are all blocks of the window. */
function fillGaps(
  data: FileData,
  extents: readonly Extent[],
  write: WindowWrite,
  window: number,
  windowEnd: number,
): void {
  const to = write.source.at + write.source.bytes.length;
  let at = write.source.at;
  let previous: Extent | undefined;
  for (const extent of extents) {
    if (extent.key >= to) {
      if (at < to) fillGap(data, write, previous, at, to, previous?.end ?? window, extent.key);
      return;
    }
    if (extent.key > at) fillGap(data, write, previous, at, extent.key, previous?.end ?? window, extent.key);
    at = Math.max(at, extent.end);
    previous = extent;
  }
  if (at < to) fillGap(data, write, previous, at, to, previous?.end ?? window, windowEnd);
}

/** Covers [from, to), inside the hole [low, high). */
function fillGap(
  data: FileData,
  write: WindowWrite,
  previous: Extent | undefined,
  from: number,
  to: number,
  low: number,
  high: number,
): void {
  if (previous !== undefined && previous.end === from && grow(data, write, previous, to, high)) return;
  const toEnd = to >= write.newSize;
  const end = toEnd ? to : Math.min(high, alignUp(to, PAGE_BYTES), alignUp(write.newSize, BLOCK_MIN_BYTES));
  cover(data, Math.max(low, alignDown(from, PAGE_BYTES)), end, high, toEnd, [write.source]);
}

/** Makes the block before the gap longer, if its new size is aligned, there is room and it is cheap. */
function grow(data: FileData, write: WindowWrite, previous: Extent, to: number, high: number): boolean {
  const { key, sizeBytes, fresh } = previous;
  const grown = blockSizeFor(to - key);
  if (key % grown !== 0 || key + grown > high) return false;
  if (!fresh && sizeBytes > CLEAN_GROWTH_MAX_BYTES) return false;
  const whole = data.replace(key, grown, [{ bytes: data.bytes(key), at: key }, write.source]);
  const full = grown === DATA_WINDOW_BYTES && to === key + grown;
  // Under scarcity it may have become several blocks; those wait for the commit.
  if (full && write.streaming && whole) data.writeEarly(key);
  return true;
}

/**
 * Puts aligned power-of-two blocks over [from, end) of a hole that ends at `high`, the largest that fit; what remains
 * before the end of the file (`toEnd`) goes into one block, rounded up.
 */
function cover(
  data: FileData,
  from: number,
  end: number,
  high: number,
  toEnd: boolean,
  sources: readonly Source[],
): void {
  for (let at = from; at < end; ) {
    const whole = blockSizeFor(end - at);
    if (toEnd && at % whole === 0 && at + whole <= high) {
      data.insert(at, whole, sources);
      return;
    }
    let size = whole;
    while (size > BLOCK_MIN_BYTES && (size > end - at || at % size !== 0 || at + size > high)) size /= 2;
    data.insert(at, size, sources);
    at += size;
  }
}

/** Makes [from, to) of a block read as zero, and frees the pages of it that are wholly in there. */
export function punchBlock(data: FileData, extent: Extent, from: number, to: number, fileSize: number): void {
  const { key, end, sizeBytes } = extent;
  const holeStart = alignUp(from, PAGE_BYTES);
  const holeEnd = to >= fileSize ? end : alignDown(to, PAGE_BYTES);
  if (holeStart >= holeEnd) {
    if (extent.fresh) data.edit(key).bytes.fill(0, from - key, to - key);
    else data.replace(key, sizeBytes, [{ bytes: data.bytes(key), at: key }, zeros(from, to)]);
    return;
  }
  const sources = [{ bytes: data.bytes(key), at: key }, zeros(from, to)];
  data.remove(key);
  const dataEnd = Math.min(end, alignUp(fileSize, BLOCK_MIN_BYTES));
  cover(data, key, Math.min(holeStart, dataEnd), end, false, sources);
  cover(data, holeEnd, dataEnd, end, false, sources);
}

function zeros(from: number, to: number): Source {
  return { bytes: ZEROS.subarray(0, to - from), at: from };
}
