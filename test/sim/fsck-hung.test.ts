// A copy that stops answering while fsck looks at it, at any of its reads (I9): the check ends, says so once and exits with
// errors, blames no block for it, repairs nothing, and the other copy is checked as ever.

import { describe, expect, it } from "vitest";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { isClean } from "../../fsck/finding-list.ts";
import { ExitBit, type FsckOptions, fsckVolume } from "../../fsck/fsck.ts";
import { MIB } from "../model/simulated-volume.ts";
import { copiesOf, devicesOver, formatted, imagesOf, type Images, unmount, worked } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SEED = 771_000;
/** Reads of a check beyond those that copy 1 gets; then nothing hangs. */
const READS_MAX = 400;

async function images(): Promise<Images> {
  const { mounted } = await worked(SEED, await formatted(SEED, [24 * MIB, 20 * MIB]), { steps: 40 });
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

/** Checks with copy 1 hanging from its nth read on; undefined when it never got there. */
async function checked(
  media: Images,
  nth: number,
  given: Pick<FsckOptions, "force" | "repair">,
): Promise<readonly string[] | undefined> {
  const devices = devicesOver(media);
  const copies = await copiesOf(SEED, devices, given.repair === undefined);
  const hung = devices[1]!;
  // Headers are read from the devices themselves, before there are copies with deadlines.
  const headers = hung.calls.read;
  hung.fail({ operation: "read", nth, permanent: true, effect: { kind: "hang" } });
  const clock = copies.clock as Parameters<typeof within>[0];
  const outcome = await within(
    clock,
    4 * DEADLINE_MS_DEFAULT,
    fsckVolume({ copies, devices: [] }, { ...given, clock }),
  );
  if (hung.calls.read - headers < nth) {
    expect(isClean(outcome.findings)).toBe(true);
    return undefined;
  }
  expect(outcome).toMatchObject({ exitCode: ExitBit.UNCORRECTED, rounds: 0 });
  return outcome.findings.filter(({ severity }) => severity !== "note").map(({ name, copy }) => `${name} ${copy}`);
}

describe("fsck of a copy that stops answering", () => {
  for (const [what, given] of [
    ["a light look", { force: false }],
    ["a full check", { force: true }],
    ["a check that is to repair", { force: true, repair: "full" }],
  ] as const) {
    it(`says so and does nothing else, in ${what}, seed ${SEED}`, async () => {
      const media = await images();
      let hangs = 0;
      for (let nth = 1; nth < READS_MAX; nth += nth < 20 ? 1 : 7) {
        const found = await checked(media, nth, given);
        if (found === undefined) break;
        expect(found, `read ${nth}`).toEqual(["copy-silent 1"]);
        hangs++;
      }
      expect(hangs).toBeGreaterThan(3);
    });
  }
});
