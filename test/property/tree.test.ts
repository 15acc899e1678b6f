// The block tree against a plain Map: any order of inserts and removals, rolled back at random, gives the same items in
// the same order, and every indirect block keeps the rules a reader checks (I12). Seeds are printed by fast-check.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLOCKSET_REFS, RefType, refKey, refType, setRefHead } from "../../src/format/blockref.ts";
import { ROOT_BYTES, ROOT_SUPER_OFFSET } from "../../src/format/root-block.ts";
import { Claim, Freemap } from "../../src/freemap/freemap.ts";
import { Block, ROOT_IMAGE, refAt } from "../../src/tree/block.ts";
import { BlockStore } from "../../src/tree/store.ts";
import { type Root, rootCount, rootLevel, treeCeiling, treeFind, treeFloor } from "../../src/tree/tree.ts";
import { treeEdit, treeInsert, treeRemove } from "../../src/tree/tree-edit.ts";
import { BlockRules } from "../../src/tree/validate.ts";

const COPY_KIB = 65536;

function newTree(): { store: BlockStore; root: Root; freemap: Freemap } {
  const store = new BlockStore({
    source: { readBlocks: () => Promise.reject(new Error("nothing is on media")) },
    rules: new BlockRules([COPY_KIB]),
    checkType: 1,
    cacheBytes: 1 << 30,
  });
  const freemap = new Freemap(0, COPY_KIB, () => undefined);
  store.freemaps[0] = freemap;
  store.targets = store.required = 1;
  const bytes = new Uint8Array(ROOT_BYTES);
  const image = new Block(ROOT_IMAGE, { bytes, view: new DataView(bytes.buffer) });
  image.dirty = true;
  return { store, root: { block: image, at: ROOT_SUPER_OFFSET, refs: BLOCKSET_REFS }, freemap };
}

function items(store: BlockStore, root: Root): number[] {
  const keys: number[] = [];
  for (let at = treeCeiling(store, root, 0); at !== undefined; ) {
    const key = refKey(at.block.view, at.at);
    keys.push(key);
    at = treeCeiling(store, root, key + 1);
  }
  return keys;
}

/** Holds every indirect block below to the reader's rules. */
function checkRules(store: BlockStore, root: Root): void {
  const visit = (block: Block, at: number, count: number, level: number): void => {
    for (let i = 0; i < count; i++) {
      if (level === 0) continue;
      const child = store.block(block, at + refAt(i));
      expect(child.count).toBeGreaterThan(0);
      expect(refKey(child.view, 0)).toBeGreaterThanOrEqual(refKey(block.view, at + refAt(i)));
      if (i + 1 < count) {
        expect(refKey(child.view, refAt(child.count - 1))).toBeLessThan(refKey(block.view, at + refAt(i + 1)));
      }
      visit(child, 0, child.count, level - 1);
    }
  };
  visit(root.block, root.at, rootCount(root), rootLevel(root));
}

function insert(store: BlockStore, root: Root, key: number): void {
  const at = treeInsert(store, root, key);
  setRefHead(at.block.view, at.at, RefType.ORPHAN, 0, 0, 0);
}

const step = fc.record({
  remove: fc.boolean(),
  keys: fc.array(fc.oneof(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 2 ** 52 })), {
    minLength: 1,
    maxLength: 60,
  }),
  fail: fc.integer({ min: 0, max: 5 }),
});

describe("block tree", () => {
  it("agrees with a Map over random inserts, removals and rollbacks (I4 prefix, I12)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const { store, root, freemap } = newTree();
        const unusedKib = freemap.unusedKib;
        const model = new Set<number>();
        for (const { remove, keys, fail } of steps) {
          const after = new Set(model);
          const run = (): void => {
            for (const key of keys) {
              if (remove && after.delete(key)) treeRemove(store, root, key);
              else if (!remove && !after.has(key)) {
                after.add(key);
                insert(store, root, key);
              }
            }
            if (fail === 0) throw new Error("planned");
          };
          if (fail === 0) expect(() => store.attempt(Claim.ORDINARY, run)).toThrow("planned");
          else {
            store.attempt(Claim.ORDINARY, run);
            model.clear();
            for (const key of after) model.add(key);
          }
          expect(items(store, root)).toEqual([...model].sort((a, b) => a - b));
          checkRules(store, root);
        }
        store.attempt(Claim.ORDINARY, () => {
          for (const key of model) treeRemove(store, root, key);
        });
        expect(rootCount(root)).toBe(0);
        expect(store.dirtyBytes).toBe(0);
        expect(freemap.unusedKib).toBe(unusedKib);
      }),
      { numRuns: 150 },
    );
  });

  it("fills its blocks when keys arrive in rising order, and finds floor, ceiling and exact keys", () => {
    const { store, root } = newTree();
    const count = 20_000;
    for (let key = 0; key < count; key++) store.attempt(Claim.ORDINARY, () => insert(store, root, key * 3));
    expect(store.dirtyBytes / (count * 128)).toBeLessThan(1.05);
    for (const key of [0, 1, 2, 3, 2999, 3000, 3001, 3 * count - 3]) {
      const floor = treeFloor(store, root, key);
      expect(floor && refKey(floor.block.view, floor.at)).toBe(key - (key % 3));
      const ceiling = treeCeiling(store, root, key);
      expect(ceiling && refKey(ceiling.block.view, ceiling.at)).toBe(Math.ceil(key / 3) * 3);
      expect(treeFind(store, root, key) !== undefined).toBe(key % 3 === 0);
    }
    expect(treeCeiling(store, root, 3 * count)).toBeUndefined();
    store.attempt(Claim.ORDINARY, () => {
      expect(treeEdit(store, root, 1)).toBeUndefined();
      const at = treeEdit(store, root, 3);
      expect(at && refType(at.block.view, at.at)).toBe(RefType.ORPHAN);
    });
  });
});
