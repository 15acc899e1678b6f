// A process that does not run for longer than a deadline, stopped or starved (I9): what the copies answered meanwhile lies there, and the
// timers come before it. No copy is to blame for that, and none is spared that does not answer afterwards either.

import { describe, expect, it } from "vitest";
import { CopySet } from "../../src/copies/copy-set.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { FIRST_KIB, pointers, readOf, scene, spoil } from "./copies-scene.ts";

const SIZE = 16384;
const PAUSE_MS = DEADLINE_MS_DEFAULT + 1500;
const bytes = new SeededRandom(7).bytes(SIZE);
const at = pointers(FIRST_KIB, FIRST_KIB + 64);

describe.each(["write", "read"] as const)("a pause during a %s", (operation) => {
  /** Begins it, with copy 0 slow to answer, and has everything stand still until long after its deadline. */
  async function paused(): Promise<{ clock: SimulatedClock; set: CopySet; done: Promise<void>; answer: () => void }> {
    const clock = new SimulatedClock();
    const { copies, devices, volumeUuid } = await scene(2);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    const set = new CopySet(copies.copies, { volumeUuid, clock });
    let answer = (): void => undefined;
    const answered = new Promise<void>((resolve) => (answer = resolve));
    const device = devices[0]!;
    const real = device[operation].bind(device);
    device[operation] = async (offsetBytes: number, pieces: readonly Uint8Array[]) => {
      await answered;
      await real(offsetBytes, pieces);
    };
    // A block that the other copy can't give: only what is waited for has a deadline.
    if (operation === "read") await spoil(devices[1]!, FIRST_KIB + 64);
    const read = readOf(bytes, at, true);
    const done = operation === "read" ? set.readBlocks([read]) : set.writeBlocks([{ pointers: at, bytes }]);
    await clock.advance(100);
    clock.pause(PAUSE_MS);
    return { clock, set, done, answer };
  }

  it("drops no copy that answered meanwhile", async () => {
    const { clock, set, done, answer } = await paused();
    const after = clock.advance(0);
    answer();
    await after;
    await clock.advance(DEADLINE_MS_DEFAULT);
    await done;
    expect(set.copy(0)?.failure).toBeUndefined();
  });

  if (operation === "write") {
    it("spares none that goes on not to answer", async () => {
      const { clock, set, done } = await paused();
      await clock.advance(DEADLINE_MS_DEFAULT);
      await done;
      expect(set.copy(0)?.failure?.message).toContain("no answer within");
    });
  }
});
