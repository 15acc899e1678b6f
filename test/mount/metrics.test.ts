// The figures of a real mount, as Prometheus collects them: they follow what programs do and what goes wrong, and go on where
// another worker serves.

import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed } from "./copies-place.ts";
import { sampleIn, scrape } from "./scrape.ts";

const SEED = 83;
const BLOCK_BYTES = 64 * 1024;
const MIB = 1024 * 1024;

let place: CopiesPlace;
let socketPath: string;
beforeEach(() => {
  place = new CopiesPlace();
  socketPath = place.path("metrics.sock");
});
afterEach(() => place.clear());

/** The samples of these names and labels. */
async function figures(...names: string[]): Promise<(number | undefined)[]> {
  const page = await scrape({ socketPath });
  return names.map((name) => sampleIn(page, `h2ts_${name}`));
}

describe.skipIf(mountsImpossible() !== undefined)("the metrics of a mount", () => {
  it("follow what is written, deleted, spoiled and repaired, and outlive a worker", async () => {
    const images = [place.path("a.img"), place.path("b.img")];
    await place.format("64M", images);
    await place.h2ts("mount", "-o", `metrics=${socketPath}`, ...images, place.mnt);
    const [inodes = 0, used = 0] = await figures("volume_inodes", 'copy_used_bytes{copy="1"}');
    const contents = new SeededRandom(SEED).bytes(8 * MIB);
    writeFileSync(`${place.mnt}/file`, contents);
    for (let i = 0; i < 10; i++) writeFileSync(`${place.mnt}/small${i}`, "some words");
    await place.h2ts("sync", place.mnt);
    const [more, usedNow] = await figures("volume_inodes", 'copy_used_bytes{copy="1"}');
    expect(more).toBe(inodes + 11);
    expect(usedNow).toBeGreaterThanOrEqual(used + 8 * MIB);
    rmSync(`${place.mnt}/small0`);
    await expect.poll(() => figures("volume_inodes"), { timeout: 10_000 }).toEqual([inodes + 10]);
    const ofCopy = ['copy_errors_total{copy="1",kind="checksum"}', 'copy_repaired_blocks_total{copy="1"}'];
    expect(await figures(...ofCopy, "scrub_running")).toEqual([0, 0, undefined]);

    const at = readFileSync(place.path("b.img")).indexOf(contents.subarray(3 * BLOCK_BYTES, 4 * BLOCK_BYTES));
    expect(at, `seed ${SEED}`).toBeGreaterThan(0);
    const fd = openSync(place.path("b.img"), "r+");
    writeSync(fd, "garbage", at + 1000);
    closeSync(fd);
    await place.h2ts("scrub", place.mnt);
    await place.h2ts("wait", "-t", "scrub", place.mnt);
    expect(await figures(...ofCopy, "scrub_running", "scrub_bad_blocks", "scrub_lost_blocks")).toEqual([1, 1, 0, 1, 0]);
    expect((await figures("scrub_read_bytes_total"))[0]).toBeGreaterThan(16 * MIB);
    expect((await figures("scrub_finished_timestamp_seconds"))[0]).toBeGreaterThan(1.7e9);
    expect(await figures('copy_errors_total{copy="0",kind="checksum"}', "volume_online")).toEqual([0, 1]);

    await place.h2ts("offline", place.mnt, "1");
    const states = ['copy_state{copy="1",state="ONLINE"}', 'copy_state{copy="1",state="OFFLINE"}', "volume_online"];
    expect(await figures(...states)).toEqual([0, 1, 0]);
    await killed((await place.daemon()).workerPid);
    await place.restarted(1);
    const told = (): Promise<unknown> => figures(...states, ...ofCopy).catch(() => undefined);
    await expect.poll(told, { timeout: 10_000 }).toEqual([0, 1, 0, 1, 1]);
    await place.h2ts("umount", place.mnt);
  });
});
