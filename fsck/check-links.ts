// When all names are known: link counts, parents, sizes of directories, what hangs from nothing, orphan marks.
// Where a part of the tree could not be followed, nothing is concluded from what was not seen.

import { ROOT_INO } from "../src/format/pfs.ts";
import { BLOCKREF_BYTES } from "../src/format/blockref.ts";
import type { Content } from "./content.ts";
import type { FindingList } from "./finding-list.ts";
import type { InodeRecord } from "./inode-record.ts";
import { act, type Repair } from "./repair-plan.ts";

export function checkLinks(content: Content, list: FindingList): void {
  const { inodes } = content;
  if (content.pfs === undefined) {
    if (!content.inodeGap) list.add("pfs-root-directory", "there is no PFS 1");
    return;
  }
  const root = inodes.get(ROOT_INO);
  if (root === undefined || !root.isDirectory) {
    const repair = act({ kind: "root-directory" });
    if (!content.inodeGap) list.add("pfs-root-directory", "PFS 1: there is no root directory, inode 1", { repair });
    return;
  }
  checkCounts(content, list);
  for (const inode of inodes.values()) {
    checkUsed(inode, list);
    if (inode.isSymlink && !inode.incomplete) checkSymlink(inode, list);
    if (inode.isDirectory && !inode.incomplete) checkDirectorySize(inode, list);
    if (!content.markGap) checkMark(inode, content.marks.has(inode.ino), list);
    if (!content.entryGap) checkNames(inode, inodes, list);
  }
  if (!content.inodeGap) {
    for (const ino of content.marks) {
      if (inodes.has(ino)) continue;
      list.add("orphan-dangling", `orphan mark ${ino}: there is no such inode`, {
        ino,
        repair: act({ kind: "unmark", ino }),
      });
    }
  }
}

/** What the PFS says of its inodes as a whole. */
function checkCounts(content: Content, list: FindingList): void {
  const { pfs, inodes } = content;
  if (pfs === undefined) return;
  if (!content.inodeGap && pfs.inodeCount !== inodes.size) {
    const repair = act({ kind: "pfs", inodeCount: inodes.size });
    list.add("pfs-inode-count", `PFS 1: counts ${pfs.inodeCount} inodes, there are ${inodes.size}`, { repair });
  }
  let highest = 0;
  for (const ino of inodes.keys()) highest = Math.max(highest, ino);
  if (pfs.nextIno <= highest) {
    const repair = act({ kind: "pfs", nextIno: highest + 1 });
    list.add("pfs-next-ino", `PFS 1: next inode number ${pfs.nextIno}, but ${highest} is in use`, { repair });
  }
}

/** Sums that an inode should hold instead. */
interface Sums {
  readonly nlink?: number;
  readonly entries?: number;
  readonly size?: number;
  readonly usedKib?: number;
  readonly parent?: number;
}

function fix(ino: number, sums: Sums): { ino: number; repair: Repair } {
  return { ino, repair: act({ kind: "fields", ino, ...sums }) };
}

function checkUsed(inode: InodeRecord, list: FindingList): void {
  const { ino, usedKib, foundKib } = inode;
  if (inode.incomplete || usedKib === foundKib) return;
  list.add(
    "inode-used",
    `inode ${ino}: usedKib is ${usedKib}, its blocks take ${foundKib}`,
    fix(ino, { usedKib: foundKib }),
  );
}

/** A target longer than fits inline lies in blocks, without a hole. */
function checkSymlink(inode: InodeRecord, list: FindingList): void {
  if (inode.dataEnd === 0 || inode.dataEnd >= inode.size) return;
  list.add(
    "symlink-target",
    `inode ${inode.ino}: a target of ${inode.size} bytes, of which ${inode.dataEnd} are there`,
    { ino: inode.ino },
  );
}

function checkDirectorySize(inode: InodeRecord, list: FindingList): void {
  const { ino, entries, size, foundEntries } = inode;
  if (entries === foundEntries && size === foundEntries * BLOCKREF_BYTES) return;
  const message = `inode ${ino}: counts ${entries} entries and ${size} bytes, ${foundEntries} entries are there`;
  list.add("directory-size", message, fix(ino, { entries: foundEntries, size: foundEntries * BLOCKREF_BYTES }));
}

function checkMark(inode: InodeRecord, marked: boolean, list: FindingList): void {
  const { ino } = inode;
  const needed = inode.nlink === 0 || inode.trim;
  if (marked && needed) {
    const why = inode.nlink === 0 ? "unlinked" : "truncated";
    list.add("orphan-pending", `inode ${ino}: ${why}, its space is still to be released`, {
      ino,
      repair: { kind: "release", ino },
    });
  } else if (marked) {
    list.add("orphan-stale", `inode ${ino}: an orphan mark for a file with ${inode.nlink} names`, {
      ino,
      repair: act({ kind: "unmark", ino }),
    });
  } else if (needed && (inode.names === 0 || inode.trim)) {
    // With names it is the link count that is wrong, and said so elsewhere.
    const why = inode.nlink === 0 ? "without names" : "to be trimmed";
    list.add("orphan-unmarked", `inode ${ino}: ${why}, but without an orphan mark`, {
      ino,
      repair: act({ kind: "mark", ino }),
    });
  }
}

function checkNames(inode: InodeRecord, inodes: ReadonlyMap<number, InodeRecord>, list: FindingList): void {
  const { ino, nlink, names } = inode;
  if (ino === ROOT_INO) {
    checkRootDirectory(inode, list);
    return;
  }
  if (names === 0) {
    if (nlink === 0) return;
    list.add("unreachable", `inode ${ino}: no directory names it`, { ino, repair: { kind: "lost-and-found", ino } });
    return;
  }
  if (inode.isDirectory) {
    if (!isAttached(inode, inodes) && inode.namesCycle) {
      list.add("directory-cycle", `inode ${ino}: a directory that contains itself`, {
        ino,
        // Cut out of its circle it hangs from nothing, and the next look finds a place for it.
        repair: act({ kind: "remove-entry", directory: inode.foundIn, key: inode.foundKey }),
      });
    }
    if (nlink > 0 && inode.parent !== inode.foundIn) {
      const message = `inode ${ino}: says its parent is ${inode.parent}, it is in ${inode.foundIn}`;
      list.add("directory-parent", message, fix(ino, { parent: inode.foundIn }));
    }
  }
  const links = inode.isDirectory ? 2 + inode.foundDirectories : names;
  if (nlink !== links && !(inode.isDirectory && inode.incomplete)) {
    list.add("link-count", `inode ${ino}: link count ${nlink}, ${links} expected`, fix(ino, { nlink: links }));
  }
}

function checkRootDirectory(root: InodeRecord, list: FindingList): void {
  const { ino, nlink, names, parent } = root;
  const links = 2 + root.foundDirectories - names;
  if (parent !== ino) {
    list.add(
      "directory-parent",
      `inode ${ino}: the root directory says its parent is ${parent}`,
      fix(ino, { parent: ino }),
    );
  }
  if (nlink !== links && !root.incomplete) {
    list.add("link-count", `inode ${ino}: link count ${nlink}, ${links} expected`, fix(ino, { nlink: links }));
  }
}

/** True when following directories upwards ends at the root. Every directory is settled once, and so is every cycle that is met. */
function isAttached(inode: InodeRecord, inodes: ReadonlyMap<number, InodeRecord>): boolean {
  const path: InodeRecord[] = [];
  let here: InodeRecord | undefined = inode;
  let attached = false;
  while (here !== undefined) {
    if (here.ino === ROOT_INO) attached = true;
    else if (here.attached !== undefined) {
      attached = here.attached;
      const begin = path.indexOf(here);
      if (begin >= 0) lowestOf(path.slice(begin)).namesCycle = true;
    } else {
      path.push(here);
      // Until the walk ends, what was met counts as hanging from nothing: meeting it again is a cycle.
      here.attached = false;
      here = inodes.get(here.foundIn);
      continue;
    }
    break;
  }
  for (const passed of path) passed.attached = attached;
  return attached;
}

const lowestOf = (cycle: readonly InodeRecord[]): InodeRecord =>
  cycle.reduce((lowest, inode) => (inode.ino < lowest.ino ? inode : lowest));
