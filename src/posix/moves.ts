// Renames from one directory to another: no directory may come to lie below itself, where nothing would name it any more.
// Whether it would is seen on the way from its new parent up to the root. That has no bound (whoever goes by descriptors gets
// deeper than any path), so it is gone before the operation, part by part, with other requests in between and nothing kept
// in memory behind it. The kernel makes the same check for its mounts, and holds both directories until it is answered.

import { setImmediate as turn } from "node:timers/promises";
import { FsError } from "../base/errno.ts";
import { after, type Eventually } from "../base/eventually.ts";
import { inodeParent } from "../format/inode.ts";
import { ROOT_INO } from "../format/pfs.ts";
import { directoryOf } from "../ops/inodes.ts";
import type { RenameOperation } from "../ops/operation.ts";
import { type Move, movesOf } from "../ops/rename.ts";
import type { PfsState } from "../tree/pfs-state.ts";

/** Levels of one part: as many inodes may have to be in memory together. */
const LEVELS_AT_ONCE = 256;

type View = <T>(body: (state: PfsState) => T) => Eventually<T>;

export class Moves {
  readonly #view: View;
  #underWay: Promise<unknown> | undefined;

  constructor(view: View) {
    this.#view = view;
  }

  /**
   * Does `carryOut`, which is `operation`, if no directory comes to lie below itself; throws FsError EINVAL otherwise. One
   * after the other, as in Linux: two that are allowed each could make a circle together.
   */
  allowed<T>(operation: RenameOperation, carryOut: () => Eventually<T>): Eventually<T> {
    return this.#inTurn(() => {
      const moves = this.#view((state) => movesOf(state, operation));
      return after(
        after(moves, (all) => this.#check(all)),
        carryOut,
      );
    });
  }

  #inTurn<T>(run: () => Eventually<T>): Eventually<T> {
    const result = this.#underWay === undefined ? run() : this.#underWay.then(run, run);
    if (!(result instanceof Promise)) return result;
    this.#underWay = result;
    const over = (): void => {
      if (this.#underWay === result) this.#underWay = undefined;
    };
    result.then(over, over);
    return result;
  }

  #check(moves: readonly Move[]): Eventually<void> {
    const climb = (before: Eventually<void>, move: Move): Eventually<void> =>
      after(before, () => this.#climb(new Ascent(move)));
    return moves.reduce(climb, undefined);
  }

  #climb(ascent: Ascent): Eventually<void> {
    return after(this.#view(ascent.part()), (isOver) => (isOver ? undefined : this.#climbOn(ascent)));
  }

  async #climbOn(ascent: Ascent): Promise<void> {
    do await turn();
    while (!(await this.#view(ascent.part())));
  }
}

/** The way up from a directory's new parent, on which the directory itself must not be. */
class Ascent {
  readonly #ino: number;
  #at: number;
  #levels = 0;
  /** Where it was at a power of two of levels: if it comes there again, it goes in a circle (Brent's algorithm). */
  #mark: number;
  #nextMarkLevels = 1;

  constructor({ ino, newParent }: Move) {
    this.#ino = ino;
    this.#at = newParent;
    this.#mark = newParent;
  }

  /** A part of the way, for one view; true at the root. Run again after a miss, it goes on from where it was. */
  part(): (state: PfsState) => boolean {
    let left = LEVELS_AT_ONCE;
    return (state) => {
      for (; left > 0; left--) {
        if (this.#at === this.#ino) throw new FsError("EINVAL", `directory ${this.#ino} would lie below itself`);
        if (this.#at === ROOT_INO) return true;
        this.#climbTo(inodeParent(directoryOf(state, this.#at).view));
      }
      return false;
    };
  }

  #climbTo(parent: number): void {
    if (parent === this.#mark) throw new FsError("ELOOP", `directory ${parent} is above itself; run fsck.h2ts`);
    this.#at = parent;
    if (++this.#levels < this.#nextMarkLevels) return;
    this.#mark = parent;
    this.#nextMarkLevels *= 2;
  }
}
