// A copy of many bitmap leaves whose room is all in small pieces: a search that passes more leaves than are kept in memory ends,
// and the next one passes them without a look (I10, I12).

import { describe, expect, it, vi } from "vitest";
import { FREEMAP_LEAF_KIB } from "../../src/format/freemap.ts";
import { KIB } from "../../src/format/geometry.ts";
import { Claim, Freemap, NO_ROOM } from "../../src/freemap/freemap.ts";
import { LEAF_WORDS } from "../../src/freemap/leaf.ts";
import { MISS } from "../../src/tree/miss.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formatted, imagesOf, mount, unmount } from "../sim/copies-scene.ts";

/** More than are kept in memory. */
const LEAVES = 544;
const SEED = 131;
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Of every 32 KiB the first is used. */
const inPieces = (leaves: number): Uint32Array => new Uint32Array(leaves * LEAF_WORDS).fill(1);

/** What never ends has no turn of the event loop either, so that no time limit would end it. */
function bounded(misses: number): void {
  if (misses > 3 * LEAVES) throw new Error("a search is begun again and again");
}

describe("an allocator of more leaves than are kept", () => {
  /** Allocates as operations do: again after each leaf that was not in memory. */
  function searching(summary: { readonly freeKib: number; readonly freeChunks: number }) {
    const search = { misses: 0, allocate };
    let wanted: number | undefined;
    const freemap = new Freemap(0, LEAVES * FREEMAP_LEAF_KIB, (leaf) => {
      if (wanted === leaf) return inPieces(1);
      wanted = leaf;
      throw MISS;
    });
    for (let leaf = 0; leaf < LEAVES; leaf++) freemap.setLeafSummary(leaf, summary.freeKib, summary.freeChunks);
    function allocate(sizeKib: number, claim: Claim): number {
      for (;;) {
        try {
          wanted = undefined;
          return freemap.allocate(sizeKib, claim);
        } catch (error) {
          if (error !== MISS || wanted === undefined) throw error;
          bounded(++search.misses);
          freemap.leaf(wanted);
        }
      }
    }
    return search;
  }

  it.each([Claim.ORDINARY, Claim.DELETING, Claim.COMMIT])("looks for a long run in each once (claim %d)", (claim) => {
    const search = searching({ freeKib: FREEMAP_LEAF_KIB - LEAF_WORDS, freeChunks: 0 });
    expect(search.allocate(32, claim)).toBe(NO_ROOM);
    expect(search.misses).toBe(LEAVES);
    expect(search.allocate(32, claim)).toBe(NO_ROOM);
    expect(search.misses).toBe(LEAVES);
    expect(search.allocate(16, claim)).not.toBe(NO_ROOM);
  });

  it("believes no ref that says of a leaf what is not in it (I12)", () => {
    const search = searching({ freeKib: FREEMAP_LEAF_KIB, freeChunks: FREEMAP_LEAF_KIB / 64 });
    expect(search.allocate(64, Claim.COMMIT)).toBe(NO_ROOM);
    expect(search.allocate(16, Claim.COMMIT)).not.toBe(NO_ROOM);
  });

  it("finds what was freed in a leaf that had no run as long", () => {
    const words = inPieces(1);
    const freemap = new Freemap(0, FREEMAP_LEAF_KIB, () => words);
    freemap.setLeafSummary(0, FREEMAP_LEAF_KIB - LEAF_WORDS, 0);
    const first = freemap.allocate(16, Claim.COMMIT);
    expect(first).not.toBe(NO_ROOM);
    expect(freemap.allocate(32, Claim.COMMIT)).toBe(NO_ROOM);
    // The rest of its 32 KiB, but for the first one, is free: a run of 32 KiB is there when that is freed as well.
    freemap.freeNow(first, 16);
    freemap.freeNow(first - (first % 32), 1);
    expect(freemap.allocate(32, Claim.COMMIT)).toBe(first - (first % 32));
  });
});

describe("a volume of which all room is in small pieces", () => {
  it("writes a whole window in pieces, and deletes it (I10)", async () => {
    const [image] = await formatted(SEED, [LEAVES * 32 * MIB]);
    const words = inPieces(LEAVES);
    // What the format wrote: around the three places where it goes on searching.
    for (const third of [0, 1, 2]) {
      const leaf = Math.floor(LEAVES / 3) * third;
      words.fill(0xffffffff, leaf * LEAF_WORDS, leaf * LEAF_WORDS + 64);
    }
    const hold = new Uint32Array(words.length);
    const rebuilt = await mount(SEED, [image], { rebuildFreemap: () => ({ words, hold }), start: false });
    await rebuilt.volume.forceCommit();
    await unmount(rebuilt);

    const mounted = await mount(SEED, imagesOf(rebuilt.devices), { start: false });
    const { store } = mounted.volume;
    let misses = 0;
    const wantLeaf = store.wantLeaf.bind(store);
    vi.spyOn(store, "wantLeaf").mockImplementation((bringIn) => {
      bounded(++misses);
      wantLeaf(bringIn);
    });
    const { ino } = await mounted.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
    expect(await mounted.fs.write(ino, 0, new Uint8Array(64 * KIB).fill(1), {})).toBe(64 * KIB);
    await mounted.fs.sync();
    await mounted.fs.unlink(ROOT, name("file"), CALLER);
    await unmount(mounted);
  });
});
