// What a log names on copies that do not have it: a copy that was not in sync, one that was set back (trap 4a; I1, I6, I8).

import { expect, it } from "vitest";
import { KIB } from "../../src/format/geometry.ts";
import { Journal } from "../../src/log/journal.ts";
import type { Step } from "../model/workload.ts";
import { runStep } from "../model/workload.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import {
  formatted,
  type Images,
  mount,
  type Mounted,
  settle,
  togetherAgain,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";

const SIZES = [20 * MIB, 24 * MIB];
const WINDOW_BYTES = 64 * KIB;
const FILL = 0x5a;

const journal = (): Journal => new Journal(new Uint8Array(JOURNAL_BYTES));

/** A file of one window in the log, and so much after it that what it names is known to be flushed. */
async function logged({ fs }: Mounted, { model }: Workload): Promise<void> {
  const at = ["logged"];
  const steps: Step[] = [
    { do: "create", at },
    { do: "write", at, offset: 0, length: WINDOW_BYTES, fill: FILL },
    { do: "sync" },
    { do: "mkdir", at: ["later"] },
    { do: "sync" },
  ];
  for (const step of steps) for (const each of [fs, model]) expect(await runStep(each, step)).toBe("ok");
}

const imagesNow = ({ devices }: Mounted): Images => devices.map((device) => device?.image.copy());

it("pointers to a copy that is not in sync are no promises: what it was given may be lost, and is brought to it (trap 4a)", async () => {
  const seed = 91;
  const fresh = await formatted(seed, SIZES);
  const { work, mounted } = await worked(
    seed,
    [fresh[0], undefined],
    { steps: 30, bulkBytes: 2 * MIB },
    { degraded: true },
  );
  await unmount(mounted);
  const apart = [imagesNow(mounted)[0], fresh[1]];
  // Writes go to copy 1, which is not complete when the power fails.
  const both = await mount(seed + 1, apart, { journal: journal(), stopAfterSteps: 1 }, seed);
  await settle(both);
  expect(both.copies.copy(1)?.standing).toBe("syncing");
  const before = both.devices[1]!.image.copy();
  await logged(both, work);
  const [first] = imagesNow(both);
  const after = await mount(seed + 2, [first, before], { journal: journal() }, seed);
  await settle(after);
  await unmount(after);
  await togetherAgain(seed, after, work);
});

it("what is known to be flushed is not known of a copy that lacks the frames: it was set back, and is made good (trap 4a)", async () => {
  const seed = 94;
  const { work, mounted } = await worked(seed, await formatted(seed, SIZES), { steps: 20 }, { journal: journal() });
  await mounted.volume.forceCommit();
  const before = mounted.devices[1]!.image.copy();
  await logged(mounted, work);
  const [first] = imagesNow(mounted);
  const after = await mount(seed + 1, [first, before], { journal: journal() }, seed);
  expect(after.volume.members.inSync).toBe(0b11);
  await unmount(after);
  await togetherAgain(seed, after, work);
});
