// A copy that stops answering while fsck looks at it, at any of its reads (I9), or that refuses a repair: the check ends, says so
// and exits with errors, blames no block for it, repairs nothing on the strength of it, and the other copy is checked as ever.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopySet } from "../../src/copies/copy-set.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { FindingList, isClean } from "../../fsck/finding-list.ts";
import { ExitBit, type FsckOptions, type FsckOutcome, fsckVolume } from "../../fsck/fsck.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { Headers } from "../../fsck/headers.ts";
import { MIB } from "../model/simulated-volume.ts";
import { copiesOf, devicesOver, formatted, imagesOf, type Images, unmount, worked } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SEED = 771_000;
const PAGE_BYTES = 4096;
/** More reads than a check makes of one copy. */
const READS_MAX = 1000;

type Given = Pick<FsckOptions, "force" | "repair">;

async function worn(): Promise<Images> {
  const { mounted } = await worked(SEED, await formatted(SEED, [24 * MIB, 20 * MIB]), { steps: 40 });
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

interface Run {
  readonly outcome: FsckOutcome;
  readonly devices: readonly SimulatedDevice[];
}

/** Runs fsck after `spoil` was done to the devices. */
async function fsck(media: Images, given: Given, spoil: (copy1: SimulatedDevice) => void): Promise<Run> {
  const devices = devicesOver(media).filter((device) => device !== undefined);
  const copies = await copiesOf(SEED, devices, given.repair === undefined);
  const clock = copies.clock as SimulatedClock;
  spoil(devices[1]!);
  const outcome = await within(
    clock,
    8 * DEADLINE_MS_DEFAULT,
    fsckVolume({ copies, devices: [] }, { ...given, clock }),
  );
  return { outcome, devices };
}

/** As `fsck`, with copy 1 hanging from its nth read on; undefined when it never got there. */
async function fsckHung(media: Images, nth: number, given: Given): Promise<FsckOutcome | undefined> {
  let before = 0;
  const { outcome, devices } = await fsck(media, given, (copy1) => {
    before = copy1.calls.read;
    copy1.fail({ operation: "read", nth, permanent: true, effect: { kind: "hang" } });
  });
  if (devices[1]!.calls.read - before >= nth) return outcome;
  return undefined;
}

const errors = ({ findings }: FsckOutcome): string[] =>
  findings.filter(({ severity }) => severity !== "note").map(({ name, copy }) => `${name} ${copy}`);

describe("fsck of a copy that stops answering", () => {
  for (const [what, given] of [
    ["a light look", { force: false }],
    ["a full check", { force: true }],
    ["a check that is to repair", { force: true, repair: "full" }],
  ] as const) {
    it(`says so and does nothing else, in ${what}, seed ${SEED}`, async () => {
      const media = await worn();
      let hangs = 0;
      for (let nth = 1; nth < READS_MAX; nth += nth < 20 ? 1 : 7) {
        const outcome = await fsckHung(media, nth, given);
        if (outcome === undefined) break;
        hangs++;
        expect(outcome, `read ${nth}`).toMatchObject({ exitCode: ExitBit.UNCORRECTED, rounds: 0 });
        expect(errors(outcome), `read ${nth}`).toEqual(["copy-failed 1"]);
      }
      expect(hangs).toBeGreaterThan(5);
      expect(isClean((await fsck(media, given, () => undefined)).outcome.findings)).toBe(true);
    });
  }

  it(`calls nothing lost that it may have, seed ${SEED}`, async () => {
    const media = await worn();
    const spoilt = devicesOver(media).filter((device) => device !== undefined);
    garble(spoilt[0]!);
    let unseen = 0;
    for (let nth = 1; nth < READS_MAX; nth += 3) {
      const outcome = await fsckHung(imagesOf(spoilt), nth, { force: true });
      if (outcome === undefined) break;
      expect(outcome.findings.filter(({ severity }) => severity === "loss")).toEqual([]);
      expect(errors(outcome)).toContain("copy-failed 1");
      if (outcome.findings.some(({ name }) => name === "block-unseen")) unseen++;
    }
    expect(unseen).toBeGreaterThan(0);
  });

  it("says so of a device that does not give its headers", async () => {
    const volume = buildGoodImage();
    const devices = memoryDevices(volume);
    devices[1]!.read = () => new Promise(() => undefined);
    const clock = new SimulatedClock();
    const copies = new CopySet([], { volumeUuid: new Uint8Array(16), clock });
    const headers = new Headers(copies, devices, { clock, ms: DEADLINE_MS_DEFAULT });
    for (let i = 0; i < 2; i++) {
      const list = new FindingList();
      await within(clock, i === 0 ? 2 * DEADLINE_MS_DEFAULT : 0, headers.check(list));
      expect(list.close().map(({ name, message }) => `${name} ${message.slice(0, 9)}`)).toEqual([
        "copy-failed copy1.img",
      ]);
    }
  });
});

describe("fsck of a copy that refuses to be repaired", () => {
  for (const operation of ["write", "flush"] as const) {
    it(`leaves its errors, at a ${operation}, seed ${SEED}`, async () => {
      const media = await worn();
      const { outcome } = await fsck(media, { force: true, repair: "full" }, (copy1) => {
        garble(copy1);
        copy1.fail({ operation, nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
      });
      expect(outcome.exitCode & ExitBit.UNCORRECTED).not.toBe(0);
      const left = outcome.left.map(({ name, copy }) => `${name} ${copy}`);
      expect(left).toContain("copy-failed 1");
      expect(left.filter((finding) => finding === "block-bad 1").length).toBeGreaterThan(0);
      expect(outcome.exitCode & ExitBit.CORRECTED).toBe(0);
    });
  }
});

/** Garbage in every fifth page that holds something, the rings left out. */
function garble({ image }: SimulatedDevice): void {
  const random = new SeededRandom(SEED);
  const found = new Uint8Array(PAGE_BYTES);
  for (let at = RING_AREA_KIB * KIB; at < image.sizeBytes - RING_AREA_KIB * KIB; at += 5 * PAGE_BYTES) {
    image.read(at, found);
    if (found.some((byte) => byte !== 0)) image.write(at, random.bytes(PAGE_BYTES));
  }
}
