// Before a node of a row goes, narrow blocks (copies=K) that lie on it and on no other copy in sync are brought to another copy:
// nobody could bring them to the device that takes its place. The copy may be in use meanwhile, and be given more of them.
// Invariants: I1, I8 (a new place is flushed before it is entered, and entered before the old one is given up).

import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { refIsDirty, refPointer } from "../format/blockref.ts";
import { RoCompat } from "../format/features.ts";
import { rootFeatures } from "../format/root-block.ts";
import { isNarrow, placedOn } from "../tree/narrow.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "./caretaker.ts";
import { type Brought, bringToHeirs, enterHeirs, heirCost } from "./heirs.ts";
import type { LiveNode } from "./live.ts";
import { blockKey, type NamedBlock, namedBlock } from "./named-block.ts";
import { type Place, Sweep } from "./sweep.ts";

/** Refs looked at in one step. */
const STEP_REFS = 1024;

interface Found {
  readonly key: string;
  readonly named: NamedBlock;
  readonly inode: number;
}

/** A node on its way out, and what may be lost with it. */
export interface Leaving {
  readonly copy: Copy;
  readonly position: number;
  /** Whether the node itself failed: what can't be read there is lost anyway. It may turn out otherwise while that is tried. */
  readonly hasFailed: () => boolean;
  /** The operator gives up what can't be brought elsewhere. */
  readonly abandon: boolean;
}

/**
 * Brings what a node alone holds to other copies. Returns what stays behind and goes with it, for people, undefined when that is
 * nothing. Throws CopiesError when some of it must not be lost and has no room elsewhere or can't be read, "busy" when it was stopped:
 * then it is still where it was.
 */
export async function evacuateNode(
  volume: Volume,
  caretaker: Caretaker,
  leaving: Leaving,
): Promise<string | undefined> {
  if ((rootFeatures(volume.rootImage.view).roCompat & RoCompat.NARROW_DATA) === 0) return undefined;
  const evacuation = new Evacuation(volume, leaving);
  await caretaker.walk(evacuation, () => evacuation.run());
  const { copy, position, abandon } = leaving;
  const failed = leaving.hasFailed();
  const { noRoom, unreadable, lost, inodes } = evacuation;
  const name = `node ${copy.index}/${position}`;
  const holds = (blocks: number): string =>
    `${name} alone holds ${blocks} blocks of files written under copies=K (inodes ${shown(inodes)})`;
  const refuse = (detail: string): CopiesError => new CopiesError("only-holder", copy.name, detail);
  if (noRoom > 0 && !abandon)
    throw refuse(
      `${holds(noRoom)} that have no room on other copies; make room or delete the files, then try again, or give them up with --abandon`,
    );
  if (unreadable > 0 && !failed && !abandon)
    throw refuse(
      `${holds(unreadable)} that can't be read; if it is out of use bring it back first (h2ts online DIR ${copy.index}), ` +
        "or delete the files, or give them up with --abandon",
    );
  if (lost > 0 && !failed && !abandon)
    throw refuse(`a part of the tree is unreadable, and may name what ${name} alone holds; run fsck.h2ts`);
  return noRoom + unreadable === 0 ? undefined : `${holds(noRoom + unreadable)}, and they are lost with it`;
}

function shown(inodes: ReadonlySet<number>): string {
  const first = [...inodes].slice(0, 5).join(", ");
  return inodes.size > 5 ? `${first} and ${inodes.size - 5} more` : first;
}

class Evacuation {
  /** Blocks that stay, because no other copy has room for them or no copy can read them, and the inodes they belong to. */
  noRoom = 0;
  unreadable = 0;
  readonly inodes = new Set<number>();
  readonly #volume: Volume;
  readonly #copy: Copy;
  readonly #position: number;
  /** Blocks that have no room are read too: whether they hold up a node that failed hangs on that. */
  readonly #readsAll: boolean;
  readonly #sweep: Sweep;
  #stopped = false;

  constructor(volume: Volume, { copy, position, hasFailed }: Leaving) {
    this.#volume = volume;
    this.#copy = copy;
    this.#position = position;
    this.#readsAll = hasFailed();
    this.#sweep = new Sweep(volume.store, volume.rootImage);
  }

  /** Blocks of the tree itself that no copy could give. */
  get lost(): number {
    return this.#sweep.lost;
  }

  /** Ends it after the round under way. What was brought by then is done. */
  stop(): void {
    this.#stopped = true;
  }

  /** Throws CopiesError when it was stopped. */
  async run(): Promise<void> {
    for (let place: Place | undefined = []; place !== undefined; ) place = await this.#step(place);
  }

  /** One step, made again until nothing is met that was not tried; returns where the next one begins. */
  async #step(from: Place): Promise<Place | undefined> {
    /** What was tried, and whether it could be read. */
    const tried = new Map<string, boolean>();
    for (;;) {
      if (this.#stopped) throw new CopiesError("busy", this.#copy.name, "the volume is being let go of; try again");
      const { next, found } = await this.#volume.view(() => this.#collect(from));
      const untried = found.filter(({ key }) => !tried.has(key));
      if (untried.length === 0) {
        for (const { key, inode } of found) this.#stays(inode, tried.get(key) === true);
        return next;
      }
      const blocks = untried.map(({ named }) => named);
      const { index } = this.#copy;
      const enter = (brought: Brought): ReadonlySet<string> =>
        enterHeirs(this.#volume.store, this.#sweep, from, STEP_REFS, brought, index);
      const { unread } = await bringToHeirs(this.#volume, blocks, enter, { readsAll: this.#readsAll });
      for (const { key } of untried) tried.set(key, !unread.has(key));
    }
  }

  #stays(inode: number, readable: boolean): void {
    if (readable) this.noRoom++;
    else this.unreadable++;
    this.inodes.add(inode);
  }

  /** May throw MISS. */
  #collect(from: Place): { next: Place | undefined; found: Found[] } {
    const found: Found[] = [];
    const next = this.#sweep.step(from, STEP_REFS, (node, at) => {
      if (!this.#isOnlyHere(node, at)) return 1;
      const named = namedBlock(node.block, at);
      found.push({ key: blockKey(named), named, inode: this.#sweep.inode });
      return heirCost(node.block.view, at);
    });
    return { next, found };
  }

  /** True when no other copy in sync has what the ref names. What is not durable yet goes elsewhere when the copy leaves. */
  #isOnlyHere({ block }: LiveNode, at: number): boolean {
    const { view } = block;
    const { store } = this.#volume;
    const kib = refPointer(view, at, this.#copy.index);
    if (kib === 0 || !isNarrow(view, at) || !this.#copy.isOn(this.#position, kib)) return false;
    if ((placedOn(view, at) & store.inSync & ~this.#copy.bit) !== 0) return false;
    return !refIsDirty(view, at) && (store.peek(block, at)?.writing ?? 0) === 0;
  }
}
