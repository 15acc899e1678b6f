// How often the kernel was given each inode, less what it gave back; and which inodes have no name any more. Those go
// when their count is zero. Lost counts (a killed daemon) lose nothing: orphans are marked on media, and mount removes them.
// After a take-over the kernel may hold inodes we know nothing of. It gives all it has of one back together: more than we
// count means that it is all, those of before included.

import { ROOT_INO } from "../format/pfs.ts";

export class Lookups {
  readonly #counts = new Map<number, number>();
  readonly #orphans = new Set<number>();
  /** Inodes below this may have been given out by a process before us. */
  #knownFrom = 0;
  /** Of those: given back. */
  readonly #settled = new Set<number>();

  /** Inodes from `knownFrom` on are made by us; of the others the kernel may hold any. */
  takeOver(knownFrom: number): void {
    this.#knownFrom = knownFrom;
  }

  #mayBeHeld(ino: number): boolean {
    return ino < this.#knownFrom && !this.#settled.has(ino);
  }

  add(ino: number): void {
    if (ino !== ROOT_INO) this.#counts.set(ino, (this.#counts.get(ino) ?? 0) + 1);
  }

  /** Takes `count` lookups back; true when the inode is now neither used nor named. */
  subtract(ino: number, count: number): boolean {
    const left = (this.#counts.get(ino) ?? 0) - count;
    if (left > 0) {
      this.#counts.set(ino, left);
      return false;
    }
    this.#counts.delete(ino);
    if (this.#mayBeHeld(ino)) {
      if (left === 0) return false;
      this.#settled.add(ino);
    }
    return this.#orphans.delete(ino);
  }

  /** Notes that an inode lost its last name; true when nobody uses it, so that it can go at once. */
  orphan(ino: number): boolean {
    if (!this.#counts.has(ino) && !this.#mayBeHeld(ino)) return true;
    this.#orphans.add(ino);
    return false;
  }

  /** An unnamed inode got a name. */
  named(ino: number): void {
    this.#orphans.delete(ino);
  }

  /** All inodes without names that are still in use; they are forgotten here. */
  takeOrphans(): number[] {
    const orphans = [...this.#orphans];
    this.#orphans.clear();
    return orphans;
  }
}
