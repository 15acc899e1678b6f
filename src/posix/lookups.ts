// How often the kernel was given each inode, less what it gave back; and which inodes have no name any more. Those go
// when their count is zero. Lost counts (a killed daemon) lose nothing: orphans are marked on media, and mount removes them.

import { ROOT_INO } from "../format/pfs.ts";

export class Lookups {
  readonly #counts = new Map<number, number>();
  readonly #orphans = new Set<number>();

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
    return this.#orphans.delete(ino);
  }

  /** Notes that an inode lost its last name; true when nobody uses it, so that it can go at once. */
  orphan(ino: number): boolean {
    if (!this.#counts.has(ino)) return true;
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
