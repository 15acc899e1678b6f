// The root ring: chained, front and back, and after any crash a root to go on from (I2, I4, I6, traps 3 and 9).

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { chooseRoot, readRings, ringRoots } from "../../src/copies/ring.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CrashPoint, SECTOR_BYTES, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { KIB, slotOffsets } from "../../src/format/geometry.ts";
import { ROOT_BYTES, rootEpoch, rootSequence, setRootCounters } from "../../src/format/root-block.ts";
import { beginRootEpoch, setRootSequence } from "../../src/format/root-history.ts";
import { rootLastSeen, setRootLastSeen } from "../../src/format/root-members.ts";
import { sealRoot } from "../../src/format/root-seal.ts";
import { HEADER_BYTES, reassemble, rootImage, scene, type Scene, writeRoot, writeRoots } from "./copies-scene.ts";

const reread = async ({ devices }: { devices: readonly SimulatedDevice[] }): ReturnType<typeof readRings> =>
  readRings(await reassemble(devices));

/** Spoils duplicates of a slot of one copy: 0 front, 1 back. */
async function spoilSlot(of: Scene, copy: number, slot: number, sides: readonly number[]): Promise<void> {
  const { sizeKib } = of.copies.copy(copy)!;
  for (const side of sides) {
    await of.devices[copy]!.write(HEADER_BYTES + slotOffsets(slot, sizeKib * KIB)[side]! + 300, [
      Uint8Array.of(0xff, 1),
    ]);
  }
}

describe("writing and reading the ring", () => {
  it("a new volume has three chained roots, an empty anchor, no findings", async () => {
    const made = await scene(2);
    await writeRoots(made, 3);
    const rings = await reread(made);
    for (const ring of rings.rings) {
      expect(ring.findings).toEqual([]);
      expect(ring.anchor).toBeUndefined();
      expect(ringRoots(ring).map((root) => root.sequence)).toEqual([3, 2, 1]);
      expect(ring.nextSlot).toBe(0);
    }
    const chosen = chooseRoot(rings);
    expect(chosen).toMatchObject({ sequence: 3, highestSequence: 3, copyIndex: 0, findings: [] });
    expect(chosen.olderImages.length).toBe(2);
    expect(rootLastSeen(new DataView(chosen.image.buffer), 1)).toMatchObject({ sequence: 3, target: "b.img" });
  });

  it("goes round for many commits, also with gaps in the sequence, and across reopening", async () => {
    const made = await scene(2);
    const image = rootImage(made);
    let rings = await writeRoots(made, 3, image);
    let sequence = 3;
    for (let commit = 0; commit < 14; commit++) {
      sequence += 1 + (commit % 3);
      await writeRoot(rings, image, sequence);
      if (commit % 4 === 0) rings = await reread(made);
      expect(chooseRoot(await reread(made))).toMatchObject({ sequence, findings: [] });
    }
  });

  it.each([[[0]], [[1]]])("one lost duplicate (side %j) is a finding, nothing more", async (sides) => {
    const made = await scene(2);
    await writeRoots(made, 5);
    for (const slot of [0, 1, 2]) await spoilSlot(made, 0, slot, sides);
    const chosen = chooseRoot(await reread(made));
    expect(chosen.sequence).toBe(5);
    expect(chosen.findings.map((finding) => finding.kind)).toEqual([
      "duplicate-lost",
      "duplicate-lost",
      "duplicate-lost",
    ]);
  });

  it.each([0, 1, 2])(
    "a slot lost on one copy: the ring falls back to sequences, and is whole again after commits (slot %d)",
    async (slot) => {
      const made = await scene(2);
      const image = rootImage(made);
      await writeRoots(made, 5, image);
      await spoilSlot(made, 0, slot, [0, 1]);
      const rings = await reread(made);
      expect(chooseRoot(rings).sequence).toBe(5);
      expect(rings.rings[0]!.nextSlot).toBe(slot);
      expect(rings.rings[0]!.findings.map((finding) => finding.kind)).toEqual(["slot-lost"]);
      for (let sequence = 6; sequence <= 9; sequence++) await writeRoot(rings, image, sequence);
      expect(chooseRoot(await reread(made))).toMatchObject({ sequence: 9, findings: [] });
    },
  );

  it("two slots of a copy lost: still the newest, or refused as unknown when that was among them (trap 3)", async () => {
    for (const [lost, sequence] of [
      [[0, 2], 5],
      [[0, 1], undefined],
    ] as const) {
      const made = await scene(2);
      await writeRoots(made, 5); // Slots 0, 1, 2 hold roots 4, 5, 3.
      for (const slot of lost) await spoilSlot(made, 0, slot, [0, 1]);
      const rings = await reread(made);
      if (sequence === undefined)
        expect(() => chooseRoot(rings)).toThrow(/copy 0 \(a\.img\) is older than it was when last seen \(root 5\)/);
      else expect(chooseRoot(rings).sequence).toBe(sequence);
    }
  });

  it("a root with an absurd sequence under a right seal does not win (trap 9)", async () => {
    const made = await scene(1);
    const image = rootImage(made);
    await writeRoots(made, 5, image);
    const copy = made.copies.copy(0)!;
    const forged = image.bytes.slice();
    setRootSequence(new DataView(forged.buffer), 2 ** 45);
    for (const offset of slotOffsets(2, copy.sizeKib * KIB)) {
      await copy.device.write(offset, [sealRoot(forged, copy.uuid, 0, offset)]);
    }
    const chosen = chooseRoot(await reread(made));
    expect(chosen.sequence).toBe(5);
    expect(chosen.findings.map((finding) => finding.kind)).toContain("sequence-jump");
  });

  it("a chain that disagrees with the sequences is a finding, the sequences decide", async () => {
    const made = await scene(1);
    const image = rootImage(made);
    await writeRoots(made, 5, image);
    const copy = made.copies.copy(0)!;
    setRootSequence(image.view, 6);
    for (const offset of slotOffsets(2, copy.sizeKib * KIB)) {
      await copy.device.write(offset, [sealRoot(image.bytes, copy.uuid, 0, offset, new Uint8Array(16).fill(1))]);
    }
    const rings = await reread(made);
    expect(chooseRoot(rings).sequence).toBe(6);
    expect(rings.rings[0]!.findings.map((finding) => finding.kind)).toEqual(["chain-disagrees"]);
    expect(rings.rings[0]!.nextSlot).toBe(0);
  });

  it.each([1, 2])("the newer duplicate counts where one write of a root was lost (write %d)", async (nth) => {
    const made = await scene(2);
    const image = rootImage(made);
    const rings = await writeRoots(made, 5, image);
    made.devices[1]!.fail({ operation: "write", nth, effect: { kind: "lost" } });
    for (const sequence of [6, 7]) await writeRoot(rings, image, sequence);
    const chosen = chooseRoot(await reread(made));
    expect(chosen.sequence).toBe(7);
    expect(chosen.findings.map((finding) => finding.kind)).toEqual(["duplicate-differs"]);
    const [lagging] = (await reread(made)).rings.slice(1);
    expect(ringRoots(lagging!).map((root) => root.sequence)).toEqual([7, 6, 5]);
  });

  it("a root of another slot or copy does not verify where it was moved to", async () => {
    const made = await scene(2);
    await writeRoots(made, 5);
    const newest = new Uint8Array(ROOT_BYTES);
    const [a, b] = made.copies.copies;
    await a!.device.read(slotOffsets(1, 0)[0], [newest]);
    await a!.device.write(slotOffsets(2, 0)[0], [newest]);
    await b!.device.write(slotOffsets(1, 0)[0], [newest]);
    const rings = await reread(made);
    expect(rings.rings.map((ring) => ring.findings.map((finding) => finding.kind))).toEqual([
      ["duplicate-lost"],
      ["duplicate-lost"],
    ]);
    expect(chooseRoot(rings).sequence).toBe(5);
  });
});

describe("chooseRoot", () => {
  const kindOf = (body: () => unknown): string => {
    try {
      body();
    } catch (error) {
      if (error instanceof CopiesError) return error.kind;
      throw error;
    }
    return "none";
  };

  it("takes a copy that is one root behind along, with what its older roots hold (I3, I4)", async () => {
    const made = await scene(2);
    const image = rootImage(made);
    const rings = await writeRoots(made, 5, image);
    made.devices[1]!.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    await writeRoot(rings, image, 9);
    expect(rings.copies.failed.map(({ index }) => index)).toEqual([1]);
    made.devices[1]!.faults.clear();
    const again = await reread(made);
    const chosen = chooseRoot(again);
    expect(chosen.sequence).toBe(9);
    expect(chosen.olderImages.length).toBe(3);
    await writeRoot(again, image, 10);
    expect(chooseRoot(await reread(made)).sequence).toBe(10);
  });

  it("refuses a missing copy by name and last place, a stale one, a divergent one (I6, trap 3)", async () => {
    const made = await scene(3);
    const image = rootImage(made);
    await writeRoots(made, 4, image);
    const stale = made.devices.map((d) => new SimulatedDevice(d.name, d.sizeBytes, { image: d.image.fork() }));
    const fresh = (): SimulatedDevice[] =>
      stale.map((d) => new SimulatedDevice(d.name, d.sizeBytes, { image: d.image.fork() }));
    await expect(reread({ devices: fresh().slice(0, 2) }).then(chooseRoot)).rejects.toThrow(
      /copy 2 is missing, last seen at c\.img/,
    );

    const ahead = fresh();
    const rings = await reread({ devices: ahead });
    for (const sequence of [5, 6, 7]) await writeRoot(rings, image, sequence);
    const mixed = await reread({ devices: [ahead[0]!, stale[1]!, ahead[2]!] });
    expect(chooseRoot(mixed, { degraded: true }).lost).toBe(0b010);
    expect(mixed.copies.copy(1)?.standing).toBe("unknown");

    // Both went on alone, each in an epoch of its own.
    const [left, right] = [fresh(), fresh()];
    for (const [devices, epoch, sequence] of [
      [left, 1, 9],
      [right, 2, 8],
    ] as const) {
      const alone = await reread({ devices });
      const own = image.bytes.slice();
      const view = new DataView(own.buffer);
      setRootSequence(view, 4);
      beginRootEpoch(view, new Uint8Array(16).fill(epoch));
      await writeRoot(alone, { bytes: own, view }, sequence);
      await writeRoot(alone, { bytes: own, view }, sequence + 2);
    }
    const split = await reread({ devices: [left[0]!, right[1]!, left[2]!] });
    expect(kindOf(() => chooseRoot(split))).toBe("divergent");
    // Whoever goes on from the root of one history goes on without the copies of the other, be they ahead.
    const goesOnFrom = (root: DataView): boolean => rootSequence(root) === 10;
    expect(chooseRoot(split, { degraded: true, goesOnFrom })).toMatchObject({ copyIndex: 1, sequence: 10 });
    expect(split.copies.copies.map(({ standing }) => standing)).toEqual(["divergent", "in-sync", "divergent"]);
    // The number of a root tells nothing: the other history may have given it, too.
    const level = fresh();
    const other = await reread({ devices: level });
    const own = image.bytes.slice();
    const view = new DataView(own.buffer);
    setRootSequence(view, 4);
    beginRootEpoch(view, new Uint8Array(16).fill(3));
    for (const sequence of [8, 10]) await writeRoot(other, { bytes: own, view }, sequence);
    const twins = await reread({ devices: [level[0]!, right[1]!, level[2]!] });
    expect(kindOf(() => chooseRoot(twins))).toBe("divergent");
    for (const [epoch, copyIndex, standings] of [
      [2, 1, ["divergent", "in-sync", "divergent"]],
      [3, 0, ["in-sync", "divergent", "in-sync"]],
    ] as const) {
      const isOurs = (root: DataView): boolean => rootSequence(root) === 10 && rootEpoch(root)[0] === epoch;
      expect(chooseRoot(twins, { degraded: true, goesOnFrom: isOurs })).toMatchObject({ copyIndex, sequence: 10 });
      expect(twins.copies.copies.map(({ standing }) => standing)).toEqual(standings);
    }
    const behind = await reread({ devices: [left[0]!, fresh()[1]!, left[2]!] });
    expect(chooseRoot(behind, { degraded: true }).lost).toBe(0b010);
    expect(behind.copies.copy(1)?.standing).toBe("unknown");
  });

  it("a copy that the volume does not know is refused, and left out by whoever knows what to go on from", async () => {
    const made = await scene(2);
    const image = rootImage(made);
    const rings = await writeRoots(made, 4, image);
    const known = rootLastSeen(image.view, 1)!;
    setRootLastSeen(image.view, 1, { ...known, copyUuid: known.copyUuid.map((byte) => byte ^ 1) });
    rings.copies.copy(1)!.standing = "stale";
    await writeRoot(rings, image, 5);
    const mixed = await reread(made);
    expect(kindOf(() => chooseRoot(mixed, { degraded: true }))).toBe("mixed");
    const goesOnFrom = (root: DataView): boolean => rootSequence(root) === 5;
    expect(chooseRoot(mixed, { degraded: true, goesOnFrom })).toMatchObject({ copyIndex: 0, sequence: 5 });
    expect([mixed.copies.mask, mixed.copies.absent]).toEqual([
      0b01,
      [expect.stringMatching(/b\.img: is not the copy 1/)],
    ]);
  });

  it("the copies go on counting from what the root remembers, once", async () => {
    const made = await scene(2);
    const image = rootImage(made);
    setRootCounters(image.view, 1, { read: 1, write: 2, checksum: 3, repaired: 4 });
    await writeRoots(made, 3, image);
    await spoilSlot(made, 1, 0, [0]);
    const rings = await reread(made);
    chooseRoot(rings);
    chooseRoot(rings);
    expect(rings.copies.copy(1)).toMatchObject({ errors: { read: 1, write: 2, checksum: 4 }, repaired: 4 });
    expect(rings.copies.copy(0)).toMatchObject({ errors: { read: 0, write: 0, checksum: 0 }, repaired: 0 });
  });

  it("without any root there is nothing to choose", async () => {
    expect(kindOf(() => undefined)).toBe("none");
    const made = await scene(2);
    await expect(reread(made).then(chooseRoot)).rejects.toThrow(/no valid root block/);
  });
});

describe("a power cut while roots are written", () => {
  it("leaves the newest acknowledged root or a later one, at every cut of every copy, torn at any sector (I4)", async () => {
    const disk = new SimulatedDisk();
    const made = await scene(2, { disk });
    const image = rootImage(made);
    const rings = await writeRoots(made, 3, image);
    const from = disk.events.length;
    /** Event count at which each root was acknowledged. */
    const acknowledged: [events: number, sequence: number][] = [[from, 3]];
    for (let sequence = 4; sequence <= 8; sequence++) {
      await writeRoot(rings, image, sequence);
      acknowledged.push([disk.events.length, sequence]);
    }
    const random = new SeededRandom(11);
    const points = [new CrashPoint(disk, 0), new CrashPoint(disk, 1)];
    for (let cut = from; cut <= disk.events.length; cut++) {
      for (const point of points) point.advanceTo(cut);
      const least = Math.max(...acknowledged.filter(([events]) => events <= cut).map(([, sequence]) => sequence));
      for (let variant = 0; variant < 40; variant++) {
        const devices = points.map((point, i) => {
          const survivors = point.pending
            .filter(() => random.below(2) === 0)
            .map((event) =>
              random.below(2) === 0
                ? { event }
                : {
                    event,
                    sectors: Array.from({ length: event.bytes.length / SECTOR_BYTES }, () => random.below(3) > 0),
                  },
            );
          return new SimulatedDevice(`${i}`, made.devices[i]!.sizeBytes, { image: point.image(survivors) });
        });
        const after = await reread({ devices });
        const chosen = chooseRoot(after);
        expect(chosen.sequence).toBeGreaterThanOrEqual(least);
        expect(chosen.sequence).toBeLessThanOrEqual(least + 1);
        await writeRoot(after, image, 20);
        expect(chooseRoot(await reread({ devices })).sequence).toBe(20);
      }
    }
  });
});
