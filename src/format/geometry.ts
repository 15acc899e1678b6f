// Sizes and places every other structure relies on. Media space is counted in KiB: 48 bits of them reach 2^58 bytes.

export const KIB = 1024;
export const BLOCK_MIN_BYTES = 1024;
export const BLOCK_MAX_BYTES = 65536;
export const BLOCK_MAX_KIB = BLOCK_MAX_BYTES / KIB;

/** Copies of one volume: the pointers of a blockref and the bits of a `missing` mask. */
export const COPIES_MAX = 8;

/** The first 64 KiB of every device hold its node header (at byte 0, again at byte 32,768) and nothing else. */
export const NODE_HEADER_AREA_BYTES = 65536;
export const NODE_HEADER_BACKUP_BYTES = 32768;
/** Starts and sizes of nodes are multiples of this, and blocks are aligned to their size, so none crosses two nodes. */
export const NODE_ALIGNMENT_BYTES = 65536;

/** Root ring slots 0–2 and the anchor (slot 3), each 64 KiB long, at the front of a copy and again at its back. */
export const ROOT_SLOTS = 3;
export const ANCHOR_SLOT = 3;
export const ROOT_SLOT_KIB = 64;
export const RING_AREA_KIB = ROOT_SLOT_KIB * (ROOT_SLOTS + 1);

/** What a mount draws, to know its own heartbeat by. */
export const NONCE_BYTES = 16;

export const COPY_MIN_BYTES = 16 * 1024 * 1024;
/** 2 PiB: a double holds every byte offset in a copy exactly, and the 48 bits that a blockref has for KiB are enough. */
export const COPY_MAX_KIB = 2 ** 41;

/** Byte offsets, within a copy of `copyBytes`, of the front and back duplicate of a ring slot. */
export function slotOffsets(slot: number, copyBytes: number): readonly [front: number, back: number] {
  const front = slot * ROOT_SLOT_KIB * KIB;
  return [front, copyBytes - RING_AREA_KIB * KIB + front];
}

/** File data is cut into windows of this many bytes; no data block crosses one. */
export const DATA_WINDOW_BYTES = BLOCK_MAX_BYTES;

/** An indirect block holds 8 to 128 blockrefs, growing by doubling. */
export const INDIRECT_MIN_BYTES = 1024;
export const INDIRECT_MAX_BYTES = 16384;
/** Heights above the items: 128/2 refs per block at least half full reach far past 2^53 items at 12. */
export const LEVEL_MAX = 15;

/** Largest file: offsets must stay exact in a double. A multiple of a window, so that the last page can be full. */
export const FILE_SIZE_MAX = 2 ** 53 - BLOCK_MAX_BYTES;
export const NAME_MAX_BYTES = 255;
/** Longest symlink target (PATH_MAX without its NUL). */
export const SYMLINK_MAX_BYTES = 4095;
