// Targets to copies: every way to give wrong ones ends in one line that names the thing (I11, I12).

import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { assemble, assembleCopies } from "../../src/copies/assemble.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { formatCopies, planLayout } from "../../src/copies/layout.ts";
import { nodesInUse, nodesOf } from "../../src/copies/target-nodes.ts";
import { openTargets } from "../../src/copies/targets.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { COPY_MIN_BYTES, KIB } from "../../src/format/geometry.ts";
import {
  decodeNodeHeader,
  encodeNodeHeader,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
} from "../../src/format/node-header.ts";

const MIB = 1024 * 1024;
const identity = (seed = 1): { volumeUuid: Uint8Array; label: string; random: SeededRandom } => {
  const random = new SeededRandom(seed);
  return { volumeUuid: randomUuid(random), label: "demo", random };
};
const device = (name: string, sizeBytes: number): SimulatedDevice => new SimulatedDevice(name, sizeBytes);
const target = (...devices: SimulatedDevice[]): { name: string; devices: SimulatedDevice[]; copies: number } => ({
  name: devices.map(({ name }) => name).join("+"),
  devices,
  copies: 1,
});
async function errorOf(promise: Promise<unknown>): Promise<CopiesError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CopiesError);
  expect((error as Error).message).not.toContain("\n");
  return error as CopiesError;
}

describe("layout", () => {
  it("puts a header of 64 KiB in front and rounds the rest down", async () => {
    const copies = await formatCopies(
      [target(device("a", 32 * MIB + 5000)), target(device("b", 48 * MIB))],
      identity(),
    );
    expect(copies.copies.map(({ index, sizeKib, targets }) => [index, sizeKib, targets])).toEqual([
      [0, 32 * 1024 - 64, ["a"]],
      [1, 48 * 1024 - 64, ["b"]],
    ]);
    expect(copies.mask).toBe(0b11);
  });

  it("gives each node of any row its part, without gap or overlap, and comes back the same in any order of targets", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: 131_072, max: 12 * MIB }), { minLength: 1, maxLength: 4 }), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.nat(),
        async (rows, seed) => {
          const targets = rows.map((sizes, t) =>
            target(...sizes.map((size, n) => device(`${t}.${n}`, size + (n === 0 ? COPY_MIN_BYTES + 65536 : 0)))),
          );
          const made = await formatCopies(targets, identity(seed));
          const again = await assembleCopies([...targets].reverse());
          expect(
            again.copies.map(({ index, uuid, sizeKib, targets: names }) => ({ index, uuid, sizeKib, names })),
          ).toEqual(made.copies.map(({ index, uuid, sizeKib, targets: names }) => ({ index, uuid, sizeKib, names })));
          for (const copy of made.copies) {
            expect(copy.sizeKib % 64).toBe(0);
            await copy.device.write(copy.sizeKib * KIB - 1024, [new Uint8Array(1024).fill(copy.index + 1)]);
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  it("puts several copies side by side on one device, equally large", async () => {
    const disk = device("a", 60 * MIB);
    const copies = await formatCopies([{ ...target(disk), copies: 3 }], identity());
    expect(copies.copies.map(({ sizeKib }) => sizeKib)).toEqual([20416, 20416, 20416]);
    for (const copy of copies.copies)
      await copy.device.write(0, [new Uint8Array(copy.sizeKib * KIB).fill(copy.index + 1)]);
    const again = await assembleCopies([target(disk)]);
    for (const copy of again.copies) {
      const [first, last] = [new Uint8Array(1), new Uint8Array(1)];
      await copy.device.read(0, [first]);
      await copy.device.read(copy.sizeKib * KIB - 1, [last]);
      expect([first[0], last[0]]).toEqual([copy.index + 1, copy.index + 1]);
    }
    await again.close();
  });

  it("refuses what is too small or too many, before anything is written", async () => {
    const small = device("small", COPY_MIN_BYTES);
    expect((await errorOf(formatCopies([target(device("a", 32 * MIB)), target(small)], identity()))).message).toContain(
      "small: a copy of",
    );
    expect(small.calls.write).toBe(0);
    const plan = (copies: number, ...sizes: number[]): unknown =>
      planLayout(
        [{ name: "t", nodes: sizes.map((sizeBytes, i) => ({ name: `n${i}`, sizeBytes })), copies }],
        identity(),
      );
    expect(() => plan(9, 1024 * MIB)).toThrow(/at most 8 copies/);
    expect(() => plan(2, 64 * MIB, 64 * MIB)).toThrow(/not on a row/);
    expect(() => plan(1, 64 * MIB, 100_000)).toThrow(/n1: 100000 bytes are too few/);
  });
});

describe("assembly", () => {
  const volume = async (seed = 1): Promise<{ a: SimulatedDevice; b: SimulatedDevice; c: SimulatedDevice }> => {
    const [a, b, c] = [device(`a${seed}`, 32 * MIB), device(`b${seed}`, 20 * MIB), device(`c${seed}`, 20 * MIB)];
    await formatCopies([target(a), target(b, c)], identity(seed));
    return { a, b, c };
  };

  it("uses the second header when the first is damaged, and says when both are", async () => {
    const { a, b, c } = await volume();
    await a.write(0, [new Uint8Array(4096)]);
    expect((await assembleCopies([target(a), target(b, c)])).mask).toBe(0b11);
    await a.write(32768, [Uint8Array.from(Buffer.from("H2TSNODEgarbage"))]);
    expect(await errorOf(assembleCopies([target(a), target(b, c)]))).toMatchObject({
      kind: "damaged-header",
      target: "a1",
    });
    await a.write(32768, [new Uint8Array(4096)]);
    expect((await errorOf(assembleCopies([target(a)]))).message).toContain("mkfs.h2ts");
  });

  it("nodes of a row may come in any order, but must all be there", async () => {
    const { a, b, c } = await volume();
    expect((await assembleCopies([target(c, b), target(a)])).copy(1)!.targets).toEqual(["b1", "c1"]);
    expect((await errorOf(assembleCopies([target(a), target(b)]))).message).toContain(
      "node 2 of 2 of copy 1 is missing",
    );
    expect((await errorOf(assembleCopies([target(a), target(c)]))).message).toContain(
      "node 1 of 2 of copy 1 is missing",
    );
  });

  it("refuses targets of two volumes, clones, and two claims to one copy", async () => {
    const { a, b, c } = await volume(1);
    const other = await volume(2);
    expect(await errorOf(assembleCopies([target(a), target(other.b, other.c)]))).toMatchObject({ kind: "mixed" });
    const clone = new SimulatedDevice("clone", a.sizeBytes, { image: a.image.fork() });
    const again = new SimulatedDevice("a1", a.sizeBytes, { image: a.image });
    expect(await errorOf(assembleCopies([target(again), target(clone), target(b, c)]))).toMatchObject({
      kind: "twice",
      target: "clone",
    });
    const rival = device("rival", 32 * MIB);
    await formatCopies([target(rival)], identity(1));
    const header = decodeNodeHeader(await headerOf(rival), 0, "rival", rival.sizeBytes);
    const claimed = {
      ...header,
      ranges: header.ranges.map((range) => ({ ...range, copyUuid: new Uint8Array(16).fill(7) })),
    };
    for (const at of NODE_HEADER_OFFSETS) await rival.write(at, [encodeNodeHeader(claimed, at)]);
    expect((await errorOf(assembleCopies([target(again), target(rival), target(b, c)]))).message).toContain(
      "both claim to be copy 0",
    );
  });

  it("honours feature flags: unknown incompatible ones refuse, unknown ro-compatible ones allow reading", async () => {
    const { a } = await volume();
    const solo = device("solo", 32 * MIB);
    await formatCopies([target(solo)], identity());
    const header = decodeNodeHeader(await headerOf(solo), 0, "solo", solo.sizeBytes);
    const put = async (features: typeof header.features, formatVersion = 1): Promise<void> => {
      for (const at of NODE_HEADER_OFFSETS)
        await solo.write(at, [encodeNodeHeader({ ...header, features, formatVersion }, at)]);
    };
    await put({ compat: 0, roCompat: 4, incompat: 0 });
    expect((await errorOf(assembleCopies([target(solo)]))).message).toContain("bit 2");
    expect((await assembleCopies([target(solo)], { readOnly: true })).mask).toBe(1);
    await put({ compat: 0, roCompat: 0, incompat: 1 });
    expect(await errorOf(assembleCopies([target(solo)], { readOnly: true }))).toMatchObject({ kind: "unsupported" });
    await put({ compat: 0, roCompat: 0, incompat: 0 }, 3);
    expect((await errorOf(assembleCopies([target(solo)], { readOnly: true }))).message).toContain("format version 3");
    expect(a.calls.flush).toBe(1);
  });

  const headerOf = async (from: SimulatedDevice): Promise<Uint8Array> => {
    const bytes = new Uint8Array(NODE_HEADER_BYTES);
    await from.read(0, [bytes]);
    return bytes;
  };
});

describe("targets on real files", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "h2ts-targets-"));
    for (const [name, size] of [
      ["a.img", 32 * MIB],
      ["b.img", 20 * MIB],
      ["c.img", 20 * MIB],
      ["zero.img", 20 * MIB],
      ["empty.img", 0],
    ] as const) {
      writeFileSync(join(folder, name), "");
      truncateSync(join(folder, name), size);
    }
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const path = (name: string): string => join(folder, name);

  it("formats, finds again, locks, and lets go (I11)", async () => {
    const names = [path("a.img"), `${path("b.img")}+${path("c.img")}`];
    const opened = await openTargets(names, { writable: true });
    const made = await formatCopies(
      opened.map((one) => ({ ...one, copies: 1 })),
      identity(),
    );
    await expect(assemble(names)).rejects.toThrow(`${path("a.img")}: already in use`);
    await made.close();
    const again = await assemble(names);
    expect(again.copies.map(({ name }) => name)).toEqual(names);
    await again.close();
    const readers = [await assemble(names, { readOnly: true }), await assemble(names, { readOnly: true })];
    await Promise.all(readers.map((reader) => reader.close()));
  });

  it("refuses, each with one line that names the thing, and leaves no descriptor open", async () => {
    const before = readdirSync("/proc/self/fd").length;
    const refusals: [string[], RegExp][] = [
      [[path("a.img"), path("zero.img")], /zero\.img: is not an h2ts volume; format it with mkfs\.h2ts first$/],
      [[path("a.img"), path("empty.img")], /empty\.img: is not an h2ts volume/],
      [[path("a.img"), path("none.img")], /none\.img: no such file or device$/],
      [[path("a.img"), `${path("b.img")}+`], /a node between the plus signs has no name/],
      [[path("a.img"), `${folder}/./a.img`], /\.\/a\.img: is given twice \(it is the same as /],
      [[path("a.img"), path("b.img")], /b\.img: node 2 of 2 of copy 1 is missing/],
      [[], /none given/],
      [[""], /is empty/],
      [[folder], /is a directory/],
    ];
    for (const [targets, message] of refusals) {
      const error: unknown = await assemble(targets).catch((reason: unknown) => reason);
      expect((error as Error).message).toMatch(message);
      expect((error as Error).message).not.toContain("\n");
    }
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  it("does without an image that is gone from a folder with plus signs in its name, if it may", async () => {
    mkdirSync(path("c++"));
    const gone = path("c++/gone.img");
    const set = await assemble([path("a.img"), gone], { lenient: true });
    expect(set.absent).toEqual([`${gone}: no such file or device`]);
    await set.close();
  });

  it("a name with a plus sign that exists is one device", () => {
    writeFileSync(path("x+y.img"), "");
    expect(nodesOf(path("x+y.img"))).toEqual([path("x+y.img")]);
    expect(nodesOf("p+q")).toEqual(["p", "q"]);
    expect(nodesInUse(path("x+y.img"))).toEqual([path("x+y.img")]);
    // Of one that is gone nobody can tell, and nobody is refused for it.
    expect(nodesInUse("p++q")).toEqual(["p", "", "q"]);
  });
});
