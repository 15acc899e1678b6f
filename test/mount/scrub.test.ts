// A scrub on a real mount (I5): garbage on one copy is found, told, and repaired on the media; it is paused, outlives a mount,
// and h2ts wait says how it went, each activity by itself.

import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import type { ScanReport } from "../../src/daemon/volume-report.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed } from "./copies-place.ts";

const BLOCK_BYTES = 64 * 1024;
const BLOCKS = 200;
const SEED = 41;

let place: CopiesPlace;
let images: [string, string];
beforeEach(() => {
  place = new CopiesPlace();
  images = [place.path("a.img"), place.path("b.img")];
});
afterEach(() => place.clear());

/** So slow that a scrub is still under way when it is to be paused, however long that call takes. */
const SLOWLY = ["-o", "resync-rate=8M"];

async function filled(...options: string[]): Promise<Uint8Array> {
  await place.format("64M", images);
  await place.h2ts("mount", ...options, ...images, place.mnt);
  const contents = new SeededRandom(SEED).bytes(BLOCKS * BLOCK_BYTES);
  writeFileSync(`${place.mnt}/file`, contents);
  await place.h2ts("sync", place.mnt);
  return contents;
}

/** Writes garbage into the blocks with these numbers of the file, on one image, whoever has that open. */
function spoil(path: string, contents: Uint8Array, numbers: readonly number[]): void {
  const image = readFileSync(path);
  const fd = openSync(path, "r+");
  for (const number of numbers) {
    const at = image.indexOf(contents.subarray(number * BLOCK_BYTES, number * BLOCK_BYTES + 4096));
    expect(at, `seed ${SEED}, block ${number}`).toBeGreaterThan(0);
    writeSync(fd, "garbage", at + 1000);
  }
  closeSync(fd);
}

/** Both at once: no command is started in between. */
async function startAndPause(): Promise<void> {
  const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey ?? "");
  const calls = ["start", "pause"].map((action) => client?.verb({ verb: "scrub", args: { action } }));
  for (const call of calls) expect((await call)?.error).toBeUndefined();
  client?.close();
}

async function scan(...of: string[]): Promise<ScanReport | undefined> {
  const { out } = await place.run("h2ts", "status", "-j", ...(of.length === 0 ? [place.mnt] : of));
  return (JSON.parse(out) as { scans: ScanReport[] }).scans.find(({ activity }) => activity === "scrub");
}

describe.skipIf(mountsImpossible() !== undefined)("a scrub under a mount", () => {
  it("finds garbage on one copy, repairs it on the media, and is remembered", async () => {
    const contents = await filled();
    spoil(images[1], contents, [3, 50, 51, 120, 199]);
    await place.h2ts("scrub", place.mnt);
    await place.h2ts("wait", "-t", "scrub", place.mnt);
    const found = { activity: "scrub", state: "complete", errors: 5, repaired: 5, lost: 0 };
    expect(await scan()).toMatchObject(found);
    expect((await place.status()).copies[1]).toMatchObject({ repaired: 5 });
    const text = (await place.run("h2ts", "status", place.mnt)).out;
    expect(text).toMatch(/scan: scrub complete on 20[-\dT:]+Z: [\d.]+M read, 5 bad blocks, 5 repaired$/m);
    await place.h2ts("umount", place.mnt);
    expect((await place.run("fsck.h2ts", "-n", "-f", ...images)).code).toBe(0);
    expect(await scan(...images)).toMatchObject(found);
  });

  it("finds what may be forgotten once it was seen to: neither another worker nor a mount brings the counts back", async () => {
    const contents = await filled("-o", `log=${place.path("daemon.log")}`);
    spoil(images[1], contents, [3, 50]);
    await place.h2ts("scrub", place.mnt);
    await place.h2ts("wait", "-t", "scrub", place.mnt);
    const found = { errors: { read: 0, write: 0, checksum: 2 }, repaired: 2 };
    const none = { errors: { read: 0, write: 0, checksum: 0 }, repaired: 0 };
    const seen = async (copy: number): Promise<unknown> => {
      const { state, errors, repaired } = (await place.status()).copies[copy] ?? {};
      return { state, errors, repaired };
    };
    await place.h2ts("clear", place.mnt, "0");
    expect(await seen(1)).toEqual({ state: "ONLINE", ...found });
    await place.h2ts("offline", place.mnt, "1");
    const cleared = await place.run("h2ts", "clear", "-j", place.mnt);
    expect((JSON.parse(cleared.out) as StatusReport).copies[1]).toMatchObject({ state: "OFFLINE", ...none });
    expect(place.log()).toMatch(
      /copy 1 was cleared: it had 0 read, 0 write and 2 checksum errors, and 2 blocks repaired/,
    );
    await killed((await place.daemon()).workerPid);
    await place.restarted(1);
    expect(await seen(1)).toEqual({ state: "OFFLINE", ...none });
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", "-t", "resync", place.mnt);
    await place.h2ts("umount", place.mnt);
    await place.h2ts("mount", ...images, place.mnt);
    expect(await seen(1)).toEqual({ state: "ONLINE", ...none });
    const stranger = await place.run("h2ts", "clear", place.mnt, "5");
    expect(stranger).toMatchObject({ code: 1, out: "" });
    expect(stranger.err).toMatch(/copy '5': is no copy of this volume/);
    await place.h2ts("umount", place.mnt);
    await place.h2ts("mount", "-o", "ro", ...images, place.mnt);
    expect((await place.run("h2ts", "clear", place.mnt)).code).toBe(32);
    await place.h2ts("umount", place.mnt);
  });

  it("waits, paused, over a mount; a wait for it fails meanwhile, one for a resync does not", async () => {
    const contents = await filled(...SLOWLY);
    // Bad on both: it can't be repaired.
    for (const image of images) spoil(image, contents, [7]);
    await startAndPause();
    const waiting = await place.run("h2ts", "wait", "-t", "scrub", place.mnt);
    expect(waiting).toMatchObject({ code: 32, out: "" });
    expect(waiting.err).toMatch(/the scrub is paused; go on with h2ts scrub --resume DIR\n$/);
    await place.h2ts("wait", "-t", "resync", place.mnt);
    expect(await scan()).toMatchObject({ state: "paused" });
    expect((await place.run("h2ts", "status", place.mnt)).out).toMatch(/scan: scrub paused: \d+% done, .*--resume/);
    await place.h2ts("umount", place.mnt);
    expect(await scan(...images)).toMatchObject({ state: "stopped" });
    await place.h2ts("mount", ...SLOWLY, ...images, place.mnt);
    const waited = await place.run("h2ts", "wait", "-t", "scrub", place.mnt);
    expect(waited).toMatchObject({ code: 32, out: "" });
    expect(waited.err).toMatch(/could not repair (\d+) of \1 bad blocks; \d+ are lost on every copy/);
    await startAndPause();
    await place.h2ts("scrub", "--cancel", place.mnt);
    const cancelled = await place.run("h2ts", "wait", "-t", "scrub", place.mnt);
    expect(cancelled).toMatchObject({ code: 32, out: "" });
    expect(cancelled.err).toMatch(/the scrub was not finished: it was cancelled/);
    expect((await place.run("h2ts", "status", place.mnt)).out).toMatch(/scan: scrub cancelled: /);
  });
});
