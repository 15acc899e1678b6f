// The walker: order, bounded batches, and an end on trees made to have none.
import { describe, expect, it } from "vitest";
import { BLOCKREF_BYTES, RefType, setRefHead, setRefKey, refLevel, refType } from "../../src/format/blockref.ts";
import { CheckType } from "../../src/format/check.ts";
import { BlockClaims } from "../../src/walk/claims.ts";
import type { Run, WalkRule } from "../../src/walk/rules.ts";
import { readRun } from "../../src/walk/rules.ts";
import type { WalkNode, WalkTree } from "../../src/walk/tree.ts";
import { Verifier } from "../../src/walk/verify.ts";
import { Walker } from "../../src/walk/walker.ts";
import { bareRef, ImageBuilder } from "../../fixtures/corrupt/image-builder.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";

const COPY_KIB = [16 * 1024, 24 * 1024];
const BOUNDS = { sequence: 1, copyKib: [...COPY_KIB, 0, 0, 0, 0, 0, 0], inSync: 0b11 };

function treeOf(run: Uint8Array, kind: WalkTree["kind"] = "data"): WalkTree {
  const view = new DataView(run.buffer, run.byteOffset, run.byteLength);
  return { kind, owner: 7, view, at: 0, refs: run.length / BLOCKREF_BYTES, holder: undefined };
}

function dataTree(builder: ImageBuilder, blocks: number): Uint8Array {
  const refs = Array.from({ length: blocks }, (_, i) =>
    builder.block(RefType.DATA, 0, i * 65_536, new Uint8Array(1024).fill(i)),
  );
  return builder.tree(refs, 4);
}

describe("a walk", () => {
  it("meets every block once, in key order within a level, whatever the size of a batch", async () => {
    const builder = new ImageBuilder(1, COPY_KIB);
    const tree = treeOf(dataTree(builder, 300));
    for (const batchBlocks of [1, 3, 64, 1000]) {
      const keys: number[] = [];
      const visitor = {
        fault: () => expect.unreachable("nothing is wrong"),
        misstamped: () => expect.unreachable("nothing is wrong"),
        meet: () => true,
        enter: () => true,
        arrive: (node: WalkNode, { block, good }: { block: DataView | undefined; good: number }) => {
          expect([block === undefined, good]).toEqual([false, 3]);
          if (node.level === 0) keys.push(node.key);
          return true;
        },
      };
      await new Walker(memoryCopies(builder), BOUNDS, visitor, { everyCopy: true, batchBlocks }).walk([tree]);
      expect(keys).toEqual(Array.from({ length: 300 }, (_, i) => i * 65_536));
    }
  });

  it("ends on fifteen levels whose refs all name the same child", async () => {
    const builder = new ImageBuilder(2, COPY_KIB);
    let ref = builder.block(RefType.DATA, 0, 0, new Uint8Array(1024));
    for (let level = 1; level <= 15; level++) {
      const bytes = new Uint8Array(16_384);
      for (let i = 0; i < 128; i++) {
        bytes.set(ref, i * BLOCKREF_BYTES);
        setRefKey(new DataView(bytes.buffer), i * BLOCKREF_BYTES, i);
      }
      ref = builder.block(RefType.INDIRECT, level, 0, bytes);
    }
    let met = 0;
    let shared = 0;
    const consumer = {
      fault: ({ rule }: { rule: string }) => void (rule === "block-shared" && shared++),
      item: () => ++met > 0,
      repeated: () => undefined,
      enter: () => true,
    };
    const run = new Uint8Array(4 * BLOCKREF_BYTES);
    run.set(ref);
    await new Verifier(memoryCopies(builder), BOUNDS, consumer).walk([treeOf(run)]);
    expect(met).toBeLessThan(20);
    expect(shared).toBeGreaterThan(100);
  });

  it("stops when it is told to", async () => {
    const builder = new ImageBuilder(3, COPY_KIB);
    const tree = treeOf(dataTree(builder, 10));
    const consumer = { fault: () => undefined, item: () => true, repeated: () => undefined, enter: () => true };
    const verifier = new Verifier(memoryCopies(builder), BOUNDS, consumer, AbortSignal.abort(new Error("enough")));
    await expect(verifier.walk([tree])).rejects.toThrow("enough");
  });
});

describe("the rules of a run", () => {
  const rulesOf = (run: Uint8Array, kind: WalkTree["kind"] = "orphans"): WalkRule[] => {
    const tree = treeOf(run, kind);
    const broken: WalkRule[] = [];
    const whole: Run = {
      tree,
      parent: undefined,
      view: tree.view,
      at: 0,
      refs: 4,
      level: -1,
      keyStart: 0,
      keyEnd: 2 ** 53,
    };
    readRun(whole, BOUNDS, (rule) => broken.push(rule));
    return broken;
  };
  const runOf = (...refs: Uint8Array[]): Uint8Array => {
    const run = new Uint8Array(4 * BLOCKREF_BYTES);
    refs.forEach((ref, i) => run.set(ref, i * BLOCKREF_BYTES));
    return run;
  };

  it("lets a packed, sorted run pass", () => {
    expect(rulesOf(runOf(bareRef(RefType.ORPHAN, 3).bytes, bareRef(RefType.ORPHAN, 9).bytes))).toEqual([]);
    expect(rulesOf(runOf())).toEqual([]);
  });

  it("names what is broken", () => {
    expect(rulesOf(runOf(bareRef(RefType.ORPHAN, 9).bytes, bareRef(RefType.ORPHAN, 9).bytes))).toEqual(["key-order"]);
    expect(rulesOf(runOf(new Uint8Array(BLOCKREF_BYTES), bareRef(RefType.ORPHAN, 9).bytes))).toEqual(["run-gap"]);
    expect(rulesOf(runOf(bareRef(RefType.DIRENT, 9).bytes))).toEqual(["ref-type"]);
    const tall = bareRef(RefType.INDIRECT, 0);
    setRefHead(tall.view, 0, RefType.INDIRECT, 16, 10, CheckType.XXH64);
    expect([refType(tall.view, 0), refLevel(tall.view, 0)]).toEqual([RefType.INDIRECT, 16]);
    expect(rulesOf(runOf(tall.bytes))).toEqual(["ref-level"]);
  });
});

describe("claims", () => {
  it("tell what was claimed before, for every size and place", () => {
    for (const sizeKib of [1, 2, 4, 8, 16, 32, 64]) {
      const claims = new BlockClaims();
      const places = [256, 32_768 - 64, 65_536, 5_000_000 * 64];
      for (const place of places) {
        expect(claims.claim(place, sizeKib), `${sizeKib} at ${place}`).toBe(true);
        expect(claims.claim(place, sizeKib)).toBe(false);
        expect(claims.claim(place + sizeKib - 1, 1)).toBe(false);
        expect(claims.claim(place + 64, 1)).toBe(true);
      }
      expect(claims.kib).toBeGreaterThanOrEqual(places.length * sizeKib);
    }
  });
});
