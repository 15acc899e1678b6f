// Three copies, each behind an export of ours, are lost and regained in turn by the end, the silence and the moves of their
// servers, by the operator, and by the death of the worker in the middle of it, while real programs work on the mount (I1, I2,
// I5–I9, I11). H2TS_ROTATION_SECONDS makes it last longer, H2TS_ROTATION_SEED repeats what happens in which order.

import { afterEach, beforeEach, describe, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { imageIn, temporaryFolder } from "../nbd/foreign-servers.ts";
import { mountsImpossible } from "./cli-place.ts";
import { Losses } from "./copies-losses.ts";
import { CopiesPlace } from "./copies-place.ts";
import { RemoteLosses, RemotePart } from "./remote-losses.ts";
import { rotateUnderWork } from "./rotation.ts";

const SECONDS = Number(process.env["H2TS_ROTATION_SECONDS"] ?? 25);
const SEED = Number(process.env["H2TS_ROTATION_SEED"] ?? Date.now() % 1_000_000);
const MIB = 1 << 20;
const SIZES_MIB = [120, 104, 136];
/** More than a server takes to start again on a busy machine. */
const DEADLINE_MS = 8000;

let place: CopiesPlace;
let away: ReturnType<typeof temporaryFolder>;
let parts: readonly RemotePart[];
beforeEach(async () => {
  place = new CopiesPlace();
  away = temporaryFolder();
  parts = SIZES_MIB.map((mib, i) => new RemotePart(i, imageIn(away.path, mib * MIB, `${i}.img`), away.path));
  for (const part of parts) await part.start();
});
afterEach(async () => {
  place.clear();
  for (const part of parts) await part.dispose();
  away.dispose();
});

describe.skipIf(mountsImpossible() !== undefined)("three copies on servers", () => {
  it("are lost and regained in turn, and no program notices", { timeout: (SECONDS + 300) * 1000 }, async () => {
    console.log(`H2TS_ROTATION_SEED=${SEED}`);
    const random = new SeededRandom(SEED);
    const targets = (): string[] => parts.map(({ target }) => target);
    await place.succeeds("mkfs.h2ts", "-q", "-L", "rotation", ...targets());
    const options = `commit=1,deadline=${DEADLINE_MS},nbd-connections=${1 + random.below(4)}`;
    await place.h2ts("mount", "-o", options, ...targets(), place.mnt);
    const losses = new Losses(place);
    const remote = new RemoteLosses(place);
    const [a, b, c] = parts as readonly [RemotePart, RemotePart, RemotePart];
    const all = [
      ...parts.map((part) => remote.restarted(part)),
      remote.away(a),
      remote.hung(b),
      remote.withoutWorker(c),
      remote.withoutBoth(b),
      remote.moved(c),
      losses.offline(a),
      losses.suspend(c),
      losses.detached(b),
      losses.spoilt(a, a.image, () => random.below(1_000_000)),
    ];
    await rotateUnderWork({ place, losses, all, random, seed: SEED, seconds: SECONDS });
    await place.inSyncAndWhole(targets());
  });
});
