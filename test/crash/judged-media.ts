// Which media were judged already: a crash state is what all copies hold when the power comes back, told apart by a digest
// of its bytes. Different choices of what survived often leave the same bytes; those are judged, and counted, once.
// States may also differ only where nobody looks, as in blocks of a commit whose root did not survive. Judging is a function
// of what it reads: a state that agrees with one found good in every page that was read of it is as good, and leads to the
// same tree. It counts as a state, and is not opened again.

import { checkRootTrees, checkVolume } from "../../fsck/check.ts";
import type { Finding } from "../../fsck/finding-list.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import type { RingRoot } from "../../src/copies/ring.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { CHECK_BYTES_MAX } from "../../src/format/check.ts";
import { ROOT_CHECK_OFFSET } from "../../src/format/root-seal.ts";
import { copiesOf, devicesOver, type Images } from "../sim/copies-scene.ts";

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

  /** What `judge` makes of `images`, remembered unless it throws. It must read nothing but what it is given. */
  async judge(
    images: readonly PagedImage[],
    judge: (watched: readonly PagedImage[]) => Promise<Outcome>,
  ): Promise<Outcome> {
    const watched = images.map((image) => image.watched());
    const outcome = await judge(watched);
    this.#states.unshift({ images, seen: watched.map(({ seen }) => new Set(seen)), outcome });
    this.#states.splice(REMEMBERED);
    return outcome;
  }
}

/** What the copies hold when each is looked at by itself: the tree as text. */
export class LoneTrees {
  readonly #byCopy: GoodMedia<string>[] = [];

  /** The tree of `copy`, by `read` from the images it is given, unless a copy was read that can't be told from it. */
  async of(images: Images, copy: number, read: (alone: Images) => Promise<string>): Promise<string> {
    const image = images[copy] as PagedImage;
    const known = (this.#byCopy[copy] ??= new GoodMedia());
    return (
      known.like([image]) ??
      (await known.judge([image], ([watched]) => read(images.map((_, i) => (i === copy ? watched : undefined)))))
    );
  }
}

/** What the checker says of media: rings and log each time, the trees below a root where it was not found sound on media alike. */
export class CheckedMedia {
  readonly #byRoot = new Map<string, GoodMedia<true>>();
  readonly #seed: number;

  /** `seed`: that of the volume's identities. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Throws when anything is wrong with any root. `powerCuts`: see CheckOptions. */
  async check(images: Images, powerCuts: number): Promise<void> {
    const present = images.map((image) => image as PagedImage);
    const roots: RingRoot[] = [];
    const wants = (root: RingRoot): boolean => roots.push(root) < 0;
    refuse(await checkVolume(await this.#copies(present), { everyRoot: true, powerCuts, wants }));
    for (const root of roots) {
      const known = this.#known(root);
      if (known.like(present) !== undefined) continue;
      await known.judge(present, async (watched) => {
        refuse(await checkRootTrees(await this.#copies(watched), root));
        return true;
      });
    }
  }

  #copies(images: readonly PagedImage[]): Promise<CopySet> {
    return copiesOf(this.#seed, devicesOver(images), true);
  }

  /** A root is told by its seal. */
  #known({ image }: RingRoot): GoodMedia<true> {
    const seal = Buffer.from(image.buffer, image.byteOffset + ROOT_CHECK_OFFSET, CHECK_BYTES_MAX).toString("latin1");
    let known = this.#byRoot.get(seal);
    if (known === undefined) this.#byRoot.set(seal, (known = new GoodMedia()));
    return known;
  }
}

function refuse(findings: readonly Finding[]): void {
  const bad = findings.filter(({ severity }) => severity !== "note");
  if (bad.length > 0) throw new Error(`fsck: ${bad.map(({ message }) => message).join("; ")}`);
}
