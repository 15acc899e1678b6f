// Root block and version chain: sealed to their place (I12), never believed beyond their bounds (trap 9).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { writeU64 } from "../../src/base/integers.ts";
import { FormatError } from "../../src/format/format-error.ts";
import { COPIES_MAX } from "../../src/format/geometry.ts";
import type { LastSeen } from "../../src/format/last-seen.ts";
import {
  ROOT_BLOCK,
  ROOT_BYTES,
  rootCounters,
  rootEpoch,
  rootLabel,
  rootSequence,
  SEQUENCE_MAX,
  setRootCounters,
  setRootInSync,
  setRootMinCopies,
} from "../../src/format/root-block.ts";
import { createRootImage } from "../../src/format/root-create.ts";
import { beginRootEpoch, rootHistory, setRootSequence } from "../../src/format/root-history.ts";
import { rootLastSeen, setRootLastSeen, setRootLastSeenRoot } from "../../src/format/root-members.ts";
import { sealRoot } from "../../src/format/root-seal.ts";
import { verifyRoot } from "../../src/format/root-verify.ts";
import { SCRUB_RECORD } from "../../src/format/scrub-record.ts";
import { offsetOf } from "../../src/format/structure.ts";
import { chainOrder, chainVersion } from "../../src/format/version-chain.ts";

const fill = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);
const place = { volumeUuid: fill(1), copyUuid: fill(2), copyIndex: 0, offsetBytes: 65536, name: "a.img" };

function image(): { bytes: Uint8Array; view: DataView } {
  const bytes = createRootImage({
    volumeUuid: fill(1),
    label: "demo",
    epoch: fill(9),
    copyCount: 2,
    minCopies: 1,
    checkType: 1,
  });
  const view = new DataView(bytes.buffer);
  for (const [index, uuid] of [fill(2), fill(3)].entries()) {
    setRootLastSeen(view, index, {
      copyUuid: uuid,
      epoch: fill(9),
      version: fill(0),
      sequence: 0,
      sizeKib: 65536,
      target: `/srv/${index}.img`,
    });
  }
  setRootSequence(view, 5);
  return { bytes, view };
}
const HUGE = SEQUENCE_MAX + 2;
/** Changes what is known of copy 1. */
const seen = (view: DataView, changed: Partial<LastSeen>): void =>
  setRootLastSeen(view, 1, { ...(rootLastSeen(view, 1) as LastSeen), ...changed });
const sealed = (bytes: Uint8Array): Uint8Array => sealRoot(bytes, fill(2), 0, 65536);

describe("root block", () => {
  it("verifies at its place only, and the image stays as it is", () => {
    const { bytes } = image();
    const before = bytes.slice();
    const media = sealed(bytes);
    expect(bytes).toEqual(before);
    verifyRoot(media, place);
    expect(() => verifyRoot(media, { ...place, offsetBytes: 0 })).toThrow(/check code/);
    expect(() => verifyRoot(media, { ...place, copyUuid: fill(3) })).toThrow(FormatError);
    expect(() => verifyRoot(media, { ...place, copyIndex: 1 })).toThrow(/copy 0/);
    expect(() => verifyRoot(media, { ...place, volumeUuid: fill(7) })).toThrow(/another volume/);
  });

  it("with any bit changed it does not verify (I12)", () => {
    const media = sealed(image().bytes);
    fc.assert(
      fc.property(fc.nat(ROOT_BYTES - 1), fc.nat(7), (at, bit) => {
        const damaged = media.slice();
        damaged[at] = (damaged[at] as number) ^ (1 << bit);
        expect(() => verifyRoot(damaged, place)).toThrow(FormatError);
      }),
    );
  });

  it("crafted bytes under a right seal give a FormatError or verify, never anything else (I12)", () => {
    const { bytes } = image();
    fc.assert(
      fc.property(
        fc.integer({ min: 96, max: ROOT_BYTES - 33 }),
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        (at, noise) => {
          const crafted = bytes.slice();
          crafted.set(noise.subarray(0, Math.min(noise.length, ROOT_BYTES - 32 - at)), at);
          try {
            verifyRoot(sealed(crafted), place);
          } catch (error) {
            expect(error).toBeInstanceOf(FormatError);
            expect((error as Error).message).toContain("a.img: root at byte 65536");
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each<[string, (view: DataView) => void]>([
    ["a huge sequence", (v) => writeU64(v, offsetOf(ROOT_BLOCK, "sequence"), HUGE)],
    ["a negative sequence", (v) => v.setInt32(offsetOf(ROOT_BLOCK, "sequence") + 4, -1, true)],
    ["sequence zero", (v) => setRootSequence(v, 0)],
    ["no copy in sync", (v) => setRootInSync(v, 0)],
    ["a copy in sync nobody knows", (v) => setRootInSync(v, 0b111)],
    ["more copies needed than there are", (v) => setRootMinCopies(v, 3)],
    ["an unknown check code", (v) => v.setUint8(offsetOf(ROOT_BLOCK, "checkType"), 9)],
    ["a dirty reserve", (v) => v.setUint8(offsetOf(ROOT_BLOCK, "reserved1") + 5, 1)],
    [
      "a dirty reserve in the scrub record",
      (v) => v.setUint8(offsetOf(ROOT_BLOCK, "scrub") + SCRUB_RECORD.sizeBytes - 1, 1),
    ],
    ["a history of another epoch", (v) => v.setUint8(offsetOf(ROOT_BLOCK, "history"), 1)],
    ["a copy that was seen with a huge sequence", (v) => seen(v, { sequence: HUGE })],
    ["a copy that a huge sequence was issued to", (v) => seen(v, { issued: HUGE })],
    ["a copy that joined with a huge sequence", (v) => seen(v, { joined: HUGE })],
    ["a copy that replaces one that can't be", (v) => seen(v, { replaces: COPIES_MAX })],
    ["a history that begins with a huge sequence", (v) => writeU64(v, offsetOf(ROOT_BLOCK, "history") + 16, HUGE)],
    [
      "a history whose second entry is newer than the first",
      (v) => writeU64(v, offsetOf(ROOT_BLOCK, "history") + 40, 6),
    ],
    ["nine copies", (v) => v.setUint8(offsetOf(ROOT_BLOCK, "copyCount"), 9)],
  ])("refuses %s though the seal is right (trap 9)", (_what, change) => {
    const { bytes, view } = image();
    change(view);
    expect(() => verifyRoot(sealed(bytes), place)).toThrow(FormatError);
  });

  it("keeps counters, label, last seen and history", () => {
    const { view } = image();
    setRootCounters(view, 1, { read: 1, write: 2, checksum: 3, repaired: 2 ** 40 });
    expect(rootCounters(view, 1)).toEqual({ read: 1, write: 2, checksum: 3, repaired: 0xffff_ffff });
    expect(rootLabel(view)).toBe("demo");
    setRootLastSeenRoot(view, 1, 5, fill(8));
    expect(rootLastSeen(view, 1)).toMatchObject({
      sequence: 5,
      sizeKib: 65536,
      target: "/srv/1.img",
      version: fill(8),
      epoch: fill(9),
    });
    expect(rootLastSeen(view, 2)).toBeUndefined();
    beginRootEpoch(view, fill(10));
    setRootSequence(view, 8);
    expect([rootHistory(view, 0), rootHistory(view, 1)]).toEqual([
      { epoch: fill(10), sequence: 8 },
      { epoch: fill(9), sequence: 5 },
    ]);
    expect(rootEpoch(view)).toEqual(fill(10));
    expect(rootSequence(view)).toBe(8);
  });

  it("a long target keeps its end", () => {
    const { view, bytes } = image();
    const seen = rootLastSeen(view, 0);
    for (const target of [`/${"ä".repeat(200)}/disk.img`, "a\nb\u{1f4be}".repeat(60), "x".repeat(160)]) {
      setRootLastSeen(view, 0, { ...(seen as NonNullable<typeof seen>), target });
      verifyRoot(sealed(bytes), place);
      expect(target.endsWith((rootLastSeen(view, 0)?.target ?? "?").slice(-1))).toBe(true);
    }
  });
});

describe("version chain", () => {
  const version = fc.uint8Array({ minLength: 16, maxLength: 16 });

  it("finds the one order that satisfies H(a, b) = c", () => {
    fc.assert(
      fc.property(
        version,
        version,
        fc.constantFrom(
          ...[
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
          ],
        ),
        (a, b, at) => {
          fc.pre(Buffer.compare(a, b) !== 0);
          const slots = [a, a, a] as [Uint8Array, Uint8Array, Uint8Array];
          [a, b, chainVersion(a, b)].forEach((v, i) => (slots[at[i] as number] = v));
          expect(chainOrder(slots)).toEqual({ overwrite: at[0], backup: at[1], current: at[2] });
        },
      ),
    );
  });

  it("finds none in versions that are not chained", () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        expect(chainOrder([a, b, c])).toBeUndefined();
      }),
    );
  });

  it("goes round: each new version names the slot to overwrite next", () => {
    const slots = [fill(1), fill(2), chainVersion(fill(1), fill(2))] as [Uint8Array, Uint8Array, Uint8Array];
    for (let commit = 0; commit < 20; commit++) {
      expect(chainOrder(slots)).toEqual({ overwrite: commit % 3, backup: (commit + 1) % 3, current: (commit + 2) % 3 });
      slots[commit % 3] = chainVersion(slots[(commit + 1) % 3] as Uint8Array, slots[(commit + 2) % 3] as Uint8Array);
    }
  });
});
