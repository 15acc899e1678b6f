// How often the kernel was given each inode, less what it gave back; and which inodes have no name any more. Those go
// when their count is zero. Lost counts (a killed daemon) lose nothing: orphans are marked on media, and mount removes them.
// After a take-over the kernel may hold inodes we know nothing of: whether it does only it can say.

import { ROOT_INO } from "../format/pfs.ts";

/** Of an inode without a name `unused`: it is to go. `unknown`: it is, if the kernel does not hold it. */
export type Use = "used" | "unused" | "unknown";

export class Lookups {
  readonly #counts = new Map<number, number>();
  readonly #orphans = new Set<number>();
  /** Inodes below this may have been given out by a process before us. */
  #knownFrom = 0;

  /** Inodes from `knownFrom` on are made by us; of the others the kernel may hold any. */
  takeOver(knownFrom: number): void {
    this.#knownFrom = knownFrom;
  }

  add(ino: number): void {
    if (ino !== ROOT_INO) this.#counts.set(ino, (this.#counts.get(ino) ?? 0) + 1);
  }

  /** Takes `count` lookups back. */
  subtract(ino: number, count: number): Use {
    const left = (this.#counts.get(ino) ?? 0) - count;
    if (left > 0) {
      this.#counts.set(ino, left);
      return "used";
    }
    this.#counts.delete(ino);
    return this.#uncounted(ino);
  }

  /** Notes that an inode lost its last name. */
  orphan(ino: number): Use {
    this.#orphans.add(ino);
    return this.#counts.has(ino) ? "used" : this.#uncounted(ino);
  }

  #uncounted(ino: number): Use {
    if (!this.#orphans.has(ino)) return "used";
    if (ino < this.#knownFrom) return "unknown";
    this.#orphans.delete(ino);
    return "unused";
  }

  /** The kernel says that it does not hold the inode: is it unused? It may have been given it, or it a name, since it was asked. */
  notHeld(ino: number): boolean {
    return !this.#counts.has(ino) && this.#orphans.delete(ino);
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
