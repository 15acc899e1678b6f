// Which media were judged already: a crash state is what all copies hold when the power comes back, told apart by a digest
// of its bytes. Different choices of what survived often leave the same bytes; those are judged, and counted, once.
// States may also differ only where nobody looks, as in blocks of a commit whose root did not survive. Judging is a function
// of what it reads: a state that agrees with one found good in every page that was read of it is as good, and leads to the
// same tree. It counts as a state, and is not opened again.

import type { PagedImage } from "../../src/device/paged-image.ts";
import type { Images } from "../sim/copies-scene.ts";

/** The last so many good states are remembered: the next ones are like them, if they are like any. */
const REMEMBERED = 40;

export class JudgedMedia {
  /** For each state the latest promise it was held to. */
  readonly #promised = new Map<string, number>();

  /** Distinct states so far. */
  get distinct(): number {
    return this.#promised.size;
  }

  /** Notes the state; false when it was judged by the same promise, or one that asked for more. */
  wants(images: Images, promised: number): boolean {
    const name = images.map((image) => image?.digest().toString(36) ?? "-").join(" ");
    if ((this.#promised.get(name) ?? -1) >= promised) return false;
    this.#promised.set(name, promised);
    return true;
  }
}

interface GoodState<Outcome> {
  readonly images: readonly PagedImage[];
  readonly seen: readonly ReadonlySet<number>[];
  readonly outcome: Outcome;
}

/** States that were found good, and what of them was read. `Outcome`: what any state alike leads to. */
export class GoodMedia<Outcome> {
  readonly #states: GoodState<Outcome>[] = [];

  /** The outcome of a state that `images` could not be told from; undefined when they have to be judged. */
  like(images: readonly PagedImage[]): Outcome | undefined {
    const at = this.#states.findIndex((state) =>
      state.images.every((image, i) => image.agrees(images[i] as PagedImage, state.seen[i] as ReadonlySet<number>)),
    );
    if (at < 0) return undefined;
    const [state] = this.#states.splice(at, 1) as [GoodState<Outcome>];
    this.#states.unshift(state);
    return state.outcome;
  }

  /** Judges `images` by `judge`, which throws unless they are good, and reads nothing but what it is given. */
  async judge(
    images: readonly PagedImage[],
    judge: (watched: readonly PagedImage[]) => Promise<Outcome>,
  ): Promise<void> {
    const watched = images.map((image) => image.watched());
    const outcome = await judge(watched);
    this.#states.unshift({ images, seen: watched.map(({ seen }) => new Set(seen)), outcome });
    this.#states.splice(REMEMBERED);
  }
}
