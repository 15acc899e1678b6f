// The root ring in every order of its three slots, with every way a crash or rot may leave them: which root counts, which slot
// is written next, and that the ring is whole again a few commits later, of one copy and of two (I2, I4, traps 3 and 9).

import { describe, expect, it } from "vitest";
import { chooseRoot, readRings, type RingRoot, ringRoots } from "../../src/copies/ring.ts";
import { SECTOR_BYTES } from "../../src/device/simulated-disk.ts";
import { KIB, slotOffsets } from "../../src/format/geometry.ts";
import { sealRoot } from "../../src/format/root-seal.ts";
import { chainVersion } from "../../src/format/version-chain.ts";
import { reassemble, rootImage, scene, type Scene, writeRoot, writeRoots } from "./copies-scene.ts";

/** Slots that are to be overwritten, hold the backup, and the current root: all orders. */
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;
const ROLES = ["overwrite", "backup", "current"] as const;
type Role = (typeof ROLES)[number];
/** The roots in them, and the one that a commit was writing. */
const SEQUENCE = { overwrite: 3, backup: 4, current: 5 } as const;
const NEXT_SEQUENCE = 6;
const [FRONT, BACK] = [0, 1];
const BOTH = [FRONT, BACK];

/** Changes the ring of one copy, whose slots are in an order of their own. */
class RingEditor {
  readonly #scene: Scene;
  readonly #copy: number;
  readonly #slotOf: Record<Role, number>;
  readonly #roots: ReadonlyMap<number, RingRoot>;

  constructor(of: Scene, copy: number, order: readonly number[], roots: ReadonlyMap<number, RingRoot>) {
    this.#scene = of;
    this.#copy = copy;
    this.#slotOf = Object.fromEntries(ROLES.map((role, i) => [role, order[i]])) as Record<Role, number>;
    this.#roots = roots;
  }

  async put(role: Role, sequence: number, sides = BOTH, version?: Uint8Array): Promise<void> {
    const copy = this.#scene.copies.copy(this.#copy)!;
    const root = this.#roots.get(sequence)!;
    for (const side of sides) {
      const offset = slotOffsets(this.#slotOf[role], copy.sizeKib * KIB)[side]!;
      await copy.device.write(offset, [sealRoot(root.image, copy.uuid, copy.index, offset, version ?? root.version)]);
    }
  }

  /** Only the first sector of something newer got there. */
  async tear(role: Role, sides: readonly number[]): Promise<void> {
    const copy = this.#scene.copies.copy(this.#copy)!;
    for (const side of sides) {
      const offset = slotOffsets(this.#slotOf[role], copy.sizeKib * KIB)[side]!;
      await copy.device.write(offset, [
        sealRoot(this.#roots.get(NEXT_SEQUENCE)!.image, copy.uuid, copy.index, offset).subarray(0, SECTOR_BYTES),
      ]);
    }
  }

  async tearAll(sides: readonly number[], roles: readonly Role[] = ROLES): Promise<void> {
    for (const role of roles) await this.tear(role, sides);
  }
}

interface Case {
  readonly name: string;
  readonly damage: (ring: RingEditor) => Promise<void>;
  /** The newest root left on the copy; undefined when there is none. */
  readonly newest: number | undefined;
  /** Of the slot written next; of several lost ones the first. */
  readonly next: readonly Role[];
  readonly findings: readonly string[];
  /** Beside a copy that has root 5 and is not damaged: why the volume does not open by itself. */
  readonly refused?: RegExp;
  /** On a copy other than the one whose root is chosen it is another history: then nothing but `h2ts resolve` helps. */
  readonly parts?: true;
}

const TOO_OLD = /is older than it was when last seen \(root 5\)/;
const lost = (...roles: Role[]): Omit<Case, "findings" | "name"> => {
  const left = ROLES.filter((role) => !roles.includes(role)).map((role) => SEQUENCE[role]);
  const newest = left.length === 0 ? undefined : Math.max(...left);
  // One root behind, a copy counts if the versions of its last two roots say what the next one would have been.
  const tooOld = newest !== SEQUENCE.current && roles.length > 1 ? TOO_OLD : undefined;
  const refused = newest === undefined ? /has no valid root block/ : tooOld;
  return { damage: (ring) => ring.tearAll(BOTH, roles), newest, next: roles, ...(refused && { refused }) };
};

const CASES: readonly Case[] = [
  { name: "whole", damage: async () => {}, newest: 5, next: ["overwrite"], findings: [] },
  ...ROLES.flatMap((role): Case[] => [
    ...BOTH.map((side) => ({
      name: `${role} torn at the ${side === FRONT ? "front" : "back"}`,
      damage: (ring: RingEditor) => ring.tear(role, [side]),
      newest: 5,
      next: ["overwrite"] as const,
      findings: ["duplicate-lost"],
    })),
    { name: `${role} lost`, ...lost(role), findings: ["slot-lost"] },
  ]),
  { name: "only the current left", ...lost("overwrite", "backup"), findings: ["slot-lost", "slot-lost"] },
  { name: "only the backup left", ...lost("overwrite", "current"), findings: ["slot-lost", "slot-lost"] },
  { name: "only the oldest left", ...lost("backup", "current"), findings: ["slot-lost", "slot-lost"] },
  { name: "all lost", ...lost(...ROLES), findings: ["slot-lost", "slot-lost", "slot-lost"] },
  ...BOTH.map((side) => ({
    name: `all torn at the ${side === FRONT ? "front" : "back"}`,
    damage: (ring: RingEditor) => ring.tearAll([side]),
    newest: 5,
    next: ["overwrite"] as const,
    findings: ["duplicate-lost", "duplicate-lost", "duplicate-lost"],
  })),
  {
    name: "torn crosswise, two at the front and one at the back",
    damage: async (ring) => {
      await ring.tearAll([FRONT], ["overwrite", "current"]);
      await ring.tear("backup", [BACK]);
    },
    newest: 5,
    next: ["overwrite"],
    findings: ["duplicate-lost", "duplicate-lost", "duplicate-lost"],
  },
  {
    name: "a commit cut short: its root at the front, the back torn",
    damage: async (ring) => {
      await ring.put("overwrite", NEXT_SEQUENCE, [FRONT]);
      await ring.tear("overwrite", [BACK]);
    },
    newest: 6,
    next: ["backup"],
    findings: ["duplicate-lost"],
  },
  ...BOTH.map((side) => ({
    name: `a commit cut short: its root at the ${side === FRONT ? "front" : "back"}, the older one opposite`,
    damage: (ring: RingEditor) => ring.put("overwrite", NEXT_SEQUENCE, [side]),
    newest: 6,
    next: ["backup"] as const,
    findings: ["duplicate-differs"],
  })),
  {
    name: "a current version that is not H(overwrite, backup): the sequences decide",
    damage: (ring) => ring.put("current", 5, BOTH, new Uint8Array(16).fill(7)),
    newest: 5,
    next: ["overwrite"],
    findings: ["chain-disagrees"],
    parts: true,
  },
  {
    name: "versions that chain in another order than the sequences: those decide",
    damage: async (ring) => {
      const [a, b] = [new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)];
      await ring.put("current", 5, BOTH, a);
      await ring.put("overwrite", 3, BOTH, b);
      await ring.put("backup", 4, BOTH, chainVersion(a, b));
    },
    newest: 5,
    next: ["overwrite"],
    findings: ["chain-disagrees"],
    parts: true,
  },
];

/** Copies whose rings hold the roots 3, 4 and 5, in this order of slots on each. */
async function ringIn(order: readonly number[], copyCount: number): Promise<{ made: Scene; editors: RingEditor[] }> {
  const made = await scene(copyCount);
  const image = rootImage(made);
  const roots = Array.from({ length: copyCount }, () => new Map<number, RingRoot>());
  const rings = await writeRoots(made, 2, image);
  for (let sequence = 3; sequence <= NEXT_SEQUENCE; sequence++) {
    await writeRoot(rings, image, sequence);
    for (const [i, ring] of rings.rings.entries()) roots[i]!.set(sequence, ringRoots(ring)[0]!);
  }
  const editors = roots.map((known, copy) => new RingEditor(made, copy, order, known));
  for (const editor of editors) for (const role of ROLES) await editor.put(role, SEQUENCE[role]);
  return { made, editors };
}

const reread = async ({ devices }: Scene): ReturnType<typeof readRings> => readRings(await reassemble(devices));

/** From here on commits leave a whole ring, and never write over the root that counts. */
async function goesOn(made: Scene, from: number): Promise<void> {
  const image = rootImage(made);
  const rings = await reread(made);
  for (let sequence = from; sequence < from + 3; sequence++) {
    const before = rings.rings.map((ring) => ringRoots(ring)[0]);
    await writeRoot(rings, image, sequence);
    for (const [i, ring] of (await reread(made)).rings.entries()) {
      const held = ringRoots(ring).map((root) => root.sequence);
      expect(held[0]).toBe(sequence);
      if (before[i] !== undefined) expect(held).toContain(before[i].sequence);
    }
  }
  expect((await reread(made)).rings.map(({ findings }) => findings)).toEqual(made.devices.map(() => []));
}

describe.each(ORDERS.map((order) => ({ order })))("a ring in the order $order", ({ order }) => {
  it.each(CASES)("$name, of one copy", async ({ damage, newest, next, findings }) => {
    const { made, editors } = await ringIn(order, 1);
    await damage(editors[0]!);
    const rings = await reread(made);
    const [ring] = rings.rings;
    expect(ring!.findings.map(({ kind }) => kind)).toEqual(findings);
    expect(next.map((role) => order[ROLES.indexOf(role)])).toContain(ring!.nextSlot);
    if (newest === undefined) expect(() => chooseRoot(rings)).toThrow(/no valid root block on any copy/);
    else {
      expect(chooseRoot(rings)).toMatchObject({ sequence: newest, lost: 0 });
      await goesOn(made, 7);
    }
  });

  it.each(CASES)("$name, of one of two copies", async ({ damage, newest, refused, parts }) => {
    for (const damaged of [0, 1]) {
      const { made, editors } = await ringIn(order, 2);
      await damage(editors[damaged]!);
      const rings = await reread(made);
      const sequence = Math.max(5, newest ?? 0);
      if (parts && damaged === 1) {
        expect(() => chooseRoot(rings, { degraded: true })).toThrow(/went another way/);
        continue;
      }
      if (refused !== undefined) {
        expect(() => chooseRoot(rings)).toThrow(refused);
        expect(chooseRoot(rings, { degraded: true })).toMatchObject({ sequence, lost: 1 << damaged });
        continue;
      }
      expect(chooseRoot(rings)).toMatchObject({ sequence, lost: 0 });
      await goesOn(made, 7);
    }
  });
});
