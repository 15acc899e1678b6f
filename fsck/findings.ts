// Every kind of thing fsck.h2ts can find, with an id that never changes its meaning. docs/fsck.md lists the same table;
// a test holds the two together. Numbers are never given out twice; new kinds take a new number.

/** note: worth saying, no damage. error: the volume breaks a rule. loss: bytes that no copy can give back. */
export type Severity = "note" | "error" | "loss";

/** safe: done by -p and -y. full: done by -y only. none: nothing fsck can do. */
export type RepairClass = "safe" | "full" | "none";

export interface FindingKind {
  readonly number: number;
  readonly severity: Severity;
  readonly repair: RepairClass;
  readonly meaning: string;
  /** Of what fsck does not repair: what does, or why nothing can. */
  readonly instead?: string;
}

const kind = (number: number, severity: Severity, repair: RepairClass, meaning: string): FindingKind =>
  Object.freeze({ number, severity, repair, meaning });

const unrepaired = (number: number, severity: Severity, meaning: string, instead: string): FindingKind =>
  Object.freeze({ number, severity, repair: "none", meaning, instead });

export const FINDINGS = Object.freeze({
  "node-header": kind(
    1,
    "error",
    "safe",
    "one of the two headers of a device is damaged, or lists a copy that has left the volume",
  ),
  "root-slot": kind(2, "error", "safe", "a root block in the ring, or its duplicate, is damaged"),
  "root-chain": kind(3, "error", "safe", "the versions in the root ring do not chain in the order of their sequences"),
  "root-behind": kind(4, "note", "safe", "the newest root of a copy is older than the volume's"),
  "root-content": kind(
    5,
    "error",
    "safe",
    "the root block counts other copies than it names (repaired), or knows a copy by another UUID or size (not repaired)",
  ),
  "copy-absent": unrepaired(
    6,
    "error",
    "a copy of the volume was not given or can't be opened; a note if it is not in sync anyway",
    "give its target too",
  ),
  "anchor-slot": kind(7, "error", "safe", "the anchor slot is damaged, or holds a root although the copy is in sync"),
  "root-jump": kind(8, "error", "safe", "a root with a sequence far beyond all others"),
  "root-stale": unrepaired(
    9,
    "error",
    "a copy that lags more than one commit behind; it needs a resync",
    "`--resync` or a mount brings it up to date",
  ),
  "root-lost": unrepaired(
    13,
    "error",
    "a copy without any valid root; it needs a resync",
    "`--resync` or `h2ts online` brings it everything anew",
  ),

  "copy-failed": unrepaired(
    17,
    "error",
    "a copy failed or stopped answering meanwhile: what lies on it was not looked at to the end",
    "check again when its device works, or without it",
  ),
  "copy-behind": unrepaired(
    15,
    "note",
    "a copy is not in sync; a resync brings it what it lacks",
    "`--resync` or a mount",
  ),
  "errors-counted": unrepaired(
    14,
    "note",
    "more bad reads were met in use than repaired; a full check follows",
    "the full check that follows does",
  ),
  "block-bad": kind(10, "error", "safe", "a block is unreadable or fails its check on one copy; another copy has it"),
  "block-lost": unrepaired(
    11,
    "loss",
    "a block is unreadable or fails its check on every copy",
    "nobody has the bytes; give a copy that was left out, else delete the file, and give up what can't be deleted with `-y --abandon`",
  ),
  "block-absent": unrepaired(
    16,
    "note",
    "file data written under copies=K lies only on copies that were not given",
    "give the other copies",
  ),
  "block-unseen": unrepaired(
    38,
    "note",
    "a block lies only on a copy that failed or stopped answering meanwhile",
    "check again when its device works",
  ),
  "block-shared": kind(12, "error", "full", "two blockrefs name the same place"),

  "run-gap": kind(20, "error", "full", "blockrefs are not packed at the front of their run"),
  "empty-indirect": kind(21, "error", "full", "an indirect block holds nothing"),
  "ref-number": kind(22, "error", "full", "a 64-bit field of a blockref is beyond 2^53-1"),
  "ref-type": kind(23, "error", "full", "a blockref of a type that does not belong in its tree"),
  "ref-level": kind(24, "error", "full", "a blockref of the wrong level"),
  "ref-size": kind(25, "error", "full", "a block size that does not fit the type of the blockref"),
  "ref-methods": kind(26, "error", "full", "an unknown check code or compression"),
  "ref-flags": kind(27, "error", "full", "flags of a blockref that can't be set on media"),
  "ref-missing": kind(28, "error", "full", "a missing bit for a copy that lacks nothing"),
  "ref-reserved": kind(29, "error", "full", "unused bytes of a blockref are not zero"),
  "ref-tid": kind(30, "error", "full", "transaction ids of a blockref out of order, or above the root's sequence"),
  "mirror-tid": kind(31, "error", "safe", "mirrorTid is not the newest transaction at or below the block"),
  "key-order": kind(32, "error", "full", "keys of a run do not rise strictly"),
  "key-range": kind(33, "error", "full", "a key outside the range of the indirect block it is in"),
  "pointer-range": kind(
    34,
    "error",
    "full",
    "a pointer outside the usable part of a copy, or not aligned to its block",
  ),
  "pointer-null": kind(35, "error", "safe", "a block without a place on one of the copies"),
  "missing-mask": kind(37, "error", "safe", "a copy lacks something below a block whose missing mask does not say so"),
  "pointer-stray": kind(36, "error", "full", "a pointer to a copy the volume does not have"),

  "pfs-fields": kind(40, "error", "full", "a PFS block with a wrong magic, number, name or reserved bytes"),
  "pfs-inode-count": kind(41, "error", "safe", "the PFS counts another number of inodes than there are"),
  "pfs-next-ino": kind(42, "error", "safe", "the next inode number of the PFS is not above all in use"),
  "pfs-root-directory": kind(43, "loss", "full", "the PFS has no root directory"),

  "inode-magic": kind(50, "loss", "full", "a block in the inode index is not an inode"),
  "inode-number": kind(51, "error", "full", "an inode holds another number than its key"),
  "inode-mode": kind(52, "error", "full", "an inode of unknown type"),
  "inode-reserved": kind(53, "error", "full", "reserved bytes or unknown flags of an inode are not zero"),
  "inode-field": kind(54, "error", "full", "a number in an inode is out of bounds"),
  "inode-time": kind(55, "error", "full", "a time in an inode has more than 999,999,999 nanoseconds"),
  "inode-content": kind(56, "error", "full", "an inode has content that its type can't have"),
  "inode-used": kind(57, "error", "safe", "usedKib of an inode is not the size of its blocks"),
  "inode-property": kind(58, "error", "full", "a property of an inode with a value it can't have"),

  "data-alignment": kind(60, "error", "full", "a data block not aligned to its size, or crossing a 64 KiB window"),
  "data-overlap": kind(61, "error", "full", "two data blocks of one file overlap"),
  "data-past-end": kind(62, "error", "full", "a data block past the end of a file that is not being trimmed"),
  "data-tail": kind(63, "error", "full", "bytes after the end of a file are not zero"),
  "symlink-target": kind(64, "error", "full", "a symbolic link with an empty, too long or incomplete target"),
  "xattr-block": kind(65, "error", "full", "an xattr block breaks its own rules"),

  "entry-name": kind(70, "error", "full", "a directory entry with a name that can't be one"),
  "entry-hash": kind(71, "error", "full", "a directory entry under a key its name does not hash to"),
  "entry-duplicate": kind(72, "error", "full", "two entries of one directory have the same name"),
  "entry-dangling": kind(73, "error", "full", "a directory entry names an inode that does not exist"),
  "entry-type": kind(74, "error", "safe", "a directory entry tells another type than its inode"),
  "directory-size": kind(75, "error", "safe", "entries or size of a directory do not match what is in it"),
  "directory-parent": kind(76, "error", "safe", "a directory holds another parent than the directory it is in"),
  "directory-names": kind(77, "error", "full", "a directory has more than one name"),
  "directory-cycle": kind(78, "error", "full", "directories that contain each other and hang from nothing"),
  "link-count": kind(79, "error", "safe", "the link count of an inode is not the number of its names"),
  unreachable: kind(80, "error", "full", "an inode that no directory names"),

  "orphan-unmarked": kind(85, "error", "safe", "an inode without names or to be trimmed is not in the orphan tree"),
  "orphan-stale": kind(86, "error", "safe", "an orphan mark for an inode that needs none"),
  "orphan-dangling": kind(87, "error", "safe", "an orphan mark for an inode that does not exist"),
  "orphan-pending": kind(
    88,
    "note",
    "safe",
    "an unlinked or truncated file still has blocks to release; the next mount does it",
  ),

  "log-pending": kind(18, "note", "safe", "completed operations wait in the log; the next mount carries them out"),
  "log-lost": kind(19, "loss", "full", "operations that were acknowledged can't be read from the log of any copy"),
  "log-dropped": unrepaired(
    39,
    "loss",
    "completed operations of the log could not be carried out and were given up",
    "nothing brings them back",
  ),

  "freemap-leaked": kind(90, "error", "safe", "space is marked as used that nothing refers to"),
  "freemap-lost": kind(91, "error", "safe", "space is marked as free although a block lies there"),
  "freemap-counts": kind(92, "error", "safe", "the free counts of a freemap leaf do not match its bits"),
  "freemap-range": kind(93, "error", "safe", "a freemap leaf beyond the end of its copy"),

  truncated: unrepaired(
    99,
    "note",
    "more findings of one kind than are listed",
    "the others are repaired all the same",
  ),
});

export type FindingName = keyof typeof FINDINGS;

/** The stable id, such as H2F-079-link-count. */
export function findingId(name: FindingName): string {
  return `H2F-${String(FINDINGS[name].number).padStart(3, "0")}-${name}`;
}
