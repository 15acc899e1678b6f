// What docs/format.md says around its tables. Numbers come from the constants the code uses, so they can't drift apart.

import { BLOCKREF_BYTES, BLOCKSET_REFS, EMBEDDED_NAME_BYTES } from "../src/format/blockref.ts";
import { CHECK_BYTES_MAX } from "../src/format/check.ts";
import { NAME_KEY_SLOTS } from "../src/format/dirent.ts";
import { FREEMAP_LEAF_BYTES, FREEMAP_LEAF_KIB } from "../src/format/freemap.ts";
import {
  BLOCK_MAX_KIB,
  BLOCK_MIN_BYTES,
  COPIES_MAX,
  COPY_MIN_BYTES,
  DATA_WINDOW_BYTES,
  INDIRECT_MAX_BYTES,
  INDIRECT_MIN_BYTES,
  KIB,
  NODE_ALIGNMENT_BYTES,
  NODE_HEADER_AREA_BYTES,
  NODE_HEADER_BACKUP_BYTES,
  RING_AREA_KIB,
  ROOT_SLOT_KIB,
  ROOT_SLOTS,
} from "../src/format/geometry.ts";
import { HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../src/format/heartbeat.ts";
import { HISTORY_ENTRIES } from "../src/format/history-entry.ts";
import { INLINE_DATA_BYTES } from "../src/format/inode.ts";
import { LOG_FRAME_ALIGN_BYTES, LOG_SEGMENT_KIB } from "../src/format/log-frame.ts";
import { NODES_PER_ROW_MAX } from "../src/format/node-header.ts";
import { SCRUB_CURSOR_START } from "../src/format/scrub-record.ts";
import { RESULT_KIND } from "../src/ops/record-kinds.ts";
import { recordTable } from "./record-table.ts";

export interface FormatSection {
  readonly title: string;
  readonly prose: string;
  /** Names of the structures whose tables follow. */
  readonly structures: readonly string[];
}

const area = NODE_HEADER_AREA_BYTES / KIB;

export const FORMAT_SECTIONS: readonly FormatSection[] = [
  {
    title: "Volume, copies, nodes",
    prose: `
A volume has 1 to ${COPIES_MAX} copies, numbered from 0. A copy is a linear range of bytes of at least
${COPY_MIN_BYTES / KIB / KIB} MiB, laid over one device or over several in a row (its nodes, at most ${NODES_PER_ROW_MAX}). Copies may
differ in size; the same block lies at a different place on each, and has the same bytes on all.

The first ${area} KiB of every device hold its node header, at byte 0 and again at byte ${NODE_HEADER_BACKUP_BYTES}; the two differ only in
their check code, which covers the place. The header lists the ranges of the device: which node of which copy each is, where it
starts and how long it is. Starts and sizes are multiples of ${NODE_ALIGNMENT_BYTES / KIB} KiB, blocks are aligned to their own size, so no
block crosses two nodes. One device may hold ranges of several copies.`,
    structures: ["node-header", "node-range"],
  },
  {
    title: "Root ring",
    prose: `
Each copy begins with ${ROOT_SLOTS + 1} slots of ${ROOT_SLOT_KIB} KiB (${RING_AREA_KIB} KiB in all) and ends with the same again: slots 0 to
${ROOT_SLOTS - 1} are the ring, slot ${ROOT_SLOTS} is the anchor. A root is written to its slot at the front and at the back; the bytes of a
slot past the root are zero, but for the heartbeat. The anchor is zero while the copy is in sync; when a copy is caught up, it holds the
last root that was complete.

Every commit writes one root to each copy, into the ring's oldest slot. The versions of the three slots form a chain:

    current = H(overwrite, backup)      H(a, b) = the first 16 bytes of SHA-256(a ‖ b)

Exactly one order of the three slots satisfies it; it names the slot to overwrite next, the backup and the current root.
To open: verify both duplicates of each slot and take the one with the higher sequence, then the order of the chain; where
a slot is lost, the order of the sequences. A chain that disagrees with the sequences is damage.

The seal of a root is SHA-256 over the root (its check field zero), the copy's UUID, the byte offset of the slot within
the copy as u64, and the volume's UUID: a root that is stale, misplaced or of another volume never verifies.

\`history\` holds the present epoch and up to ${HISTORY_ENTRIES - 1} ancestors, each with the highest sequence issued in it. A root of
another copy belongs to our lineage only if its epoch and sequence are covered there.

A scrub and a revalidation go over the inodes in ascending order, a scrub over the freemaps after them. \`scrubCursor\` is 0 when no scrub
is under way, ${SCRUB_CURSOR_START} from its beginning, then the number of the inode it goes on with; \`scrub\` holds what it found so far,
and afterwards what it found in all. \`revalidateCursor\` is 0 when no copy is being revalidated, else ${COPIES_MAX} times the number of the
inode it goes on with, plus the copy's index.`,
    structures: ["root-block", "copy-counters", "history-entry", "last-seen", "scrub-record"],
  },
  {
    title: "Heartbeat",
    prose: `
The ${HEARTBEAT_BYTES} bytes at byte ${HEARTBEAT_OFFSET_BYTES} of each copy, in the part of the front anchor's slot that no root reaches,
say who has the volume mounted for writing. They are all zero when nobody has; so they are on volumes made before there was a heartbeat, and
always on copies whose devices are locked locally while they are in use. Anything else is watched before the volume is mounted: if
it changes within a lease, its writer is alive.`,
    structures: ["heartbeat"],
  },
  {
    title: "Log",
    prose: `
What was completed after a root and acknowledged before the next one is in the root's log. The root names its id and its first
segment on each copy; a segment is ${LOG_SEGMENT_KIB} KiB. Frames begin at multiples of ${LOG_FRAME_ALIGN_BYTES} bytes, one after another;
where the next one does not fit, it is the first of the segment that the frames before it name as next. Every copy in sync has the same
frames. The payloads in order are a stream of records, one for each operation, in the order in which they were carried out; a record may be
spread over frames.

To read: follow the frames as long as each verifies, is of this log and has the number, place and predecessor expected; on each copy in
sync, and take the longest. A frame beyond that end which says that more was flushed than is left means damage, not a torn tail. No bitmap
shows segments, nor the blocks that records name: they are to be claimed before anything is allocated.

A record is its whole length (u32), kind (u8), the number of blocks it names (u8), a request id that means nothing after the mount (f64),
then the fields of its kind in the order given below. A number is an f64, a flag a byte (0 or 1), a string its length (u32) and its bytes, a
time two f64 (seconds since 1970, nanoseconds). A field with a question mark follows a byte that is 1 when it is there; when that is 0 there
is no field. Of two kinds of one operation the later one is written. A write ends with the length of its data (f64), the blocks of
${BLOCK_MAX_KIB} KiB that hold parts of it already (offset in the file, KiB on each of ${COPIES_MAX} copies or 0, each f64, and a check code
of ${CHECK_BYTES_MAX} bytes), and the rest of the data. Kind ${RESULT_KIND} changes nothing: it is the answer, as JSON, that an operation
gave which is in the root already, kept for the process that goes on with the same mount.

${recordTable()}`,
    structures: ["log-frame"],
  },
  {
    title: "Feature flags",
    prose: `
Node header and root carry three masks. An unknown bit in \`compat\` means nothing; in \`roCompat\` the volume may only be
read; in \`incompat\` it may not be used at all. Version 1 has one bit, 0x01 in \`roCompat\`
of the root: some file data may be on fewer copies than there are (bit 0 of a blockref's \`flags\`).`,
    structures: [],
  },
  {
    title: "Blockrefs and trees",
    prose: `
A blockref names one block: its type, size (a power of two from ${BLOCK_MIN_BYTES / KIB} to ${BLOCK_MAX_KIB} KiB), check code, and its place
on each copy in KiB. A pointer is relative to the start of the copy; 0 is no pointer. A null pointer to a copy that exists is owed to
that copy; its bit in \`missing\` is then set here and in every blockref above. The check code of a block is held here, in
its parent, never beside the data.

A tree hangs on ${BLOCKSET_REFS} blockrefs (a blockset). Keys are unique, and refs in one array stand in ascending order of their
keys, empty ones last. When a blockset or an indirect block is full it gives refs to an indirect block, an array of
blockrefs of ${INDIRECT_MIN_BYTES / KIB} to ${INDIRECT_MAX_BYTES / KIB} KiB (${INDIRECT_MIN_BYTES / BLOCKREF_BYTES} to
${INDIRECT_MAX_BYTES / BLOCKREF_BYTES} refs). The level of an indirect block is one more than that of what it holds; items have level 0; so
levels fall strictly on every way down. The key of an indirect block's ref is a lower bound of all keys below.

\`modifyTid\` is the transaction that gave a block its present content, \`mirrorTid\` the newest \`modifyTid\` in its subtree.

| tree | root | items | key |
|---|---|---|---|
| super-root | root block \`superRoot\` | PFS blocks | PFS id |
| inode index | PFS \`inodes\` | inode blocks | inode number |
| orphans | PFS \`orphans\` | orphan marks (refs without a block) | inode number |
| directory | inode \`content\` | directory entries | hash of the name, see below |
| file data | inode \`content\` | data blocks | byte offset in the file |
| freemap, one per copy | root block \`freemaps\` (one ref) | freemap leaves | leaf number |`,
    structures: ["blockref"],
  },
  {
    title: "PFS",
    prose: `
A mountable root inside the volume. Version 1 has exactly one, number 1, named ROOT; the number of its root directory's
inode is 1.`,
    structures: ["pfs"],
  },
  {
    title: "Inodes and file data",
    prose: `
Data of up to ${INLINE_DATA_BYTES} bytes (also a symbolic link's target) may lie in the inode itself; otherwise \`content\` is the root of
the file's tree. File data is cut into windows of ${DATA_WINDOW_BYTES / KIB} KiB at multiples of that size; no data block crosses one. What
no block covers is a hole and reads as zero. \`usedKib\` counts the blocks of data and xattrs on one copy.

An inode without a name stays until its last user is gone; its number is in the orphan tree meanwhile. The same tree marks
files whose blocks past their end are still being released.`,
    structures: ["inode"],
  },
  {
    title: "Directories",
    prose: `
A directory entry is a blockref without a block. Its name (any bytes but / and NUL, at most 255) lies in the ref, over check
code and pointers, when it has up to ${EMBEDDED_NAME_BYTES} bytes, else in a name block. Its key is ${NAME_KEY_SLOTS} times a 48-bit hash of
the name; names with the same hash take the next of the ${NAME_KEY_SLOTS} keys. The hash is two FNV-1a lanes of 32 bits over the name's
bytes (offset bases 0x811c9dc5 and 0x9747b28c, multipliers 0x01000193 and 0x5bd1e995), each put through MurmurHash3's 32-bit finalizer: all
32 bits of the first, then the high 16 of the second. "." and ".." are not stored.`,
    structures: ["name-block"],
  },
  {
    title: "Extended attributes",
    prose: `
All attributes of an inode lie in one block (1 to 64 KiB): a header, then entries, each followed by its name and its value
without padding. POSIX ACLs are the attributes system.posix_acl_access and system.posix_acl_default in Linux's own layout.`,
    structures: ["xattr-header", "xattr-entry"],
  },
  {
    title: "Freemap",
    prose: `
One bit for each KiB of a copy, set when it is in use, bit 0 of byte 0 first. A leaf has ${FREEMAP_LEAF_BYTES / KIB} KiB and covers
${FREEMAP_LEAF_KIB / KIB} MiB; a leaf that is not in the tree is all free. Each copy has its own freemap, stored as blocks on every copy
like everything else. The ring areas at both ends of a copy, and what lies past its end in the last leaf, are not marked. A leaf's ref also
carries its free KiB and its wholly free ${BLOCK_MAX_KIB} KiB chunks.

A block freed in one commit is used again on a copy only when it is clear in the freemaps of all valid roots of that copy's
ring and of its anchor.`,
    structures: [],
  },
];
