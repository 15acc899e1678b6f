// Between two workers of a mount nobody else gets at its images (I11, trap 4c); when it lets go of one, that is free
// at once.

import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, isFree, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
let stopped: number | undefined;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => {
  if (stopped !== undefined) process.kill(stopped, "SIGCONT");
  stopped = undefined;
  place.clear();
});

async function childrenOf(pid: number): Promise<string[]> {
  return (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ");
}

describe.skipIf(mountsImpossible() !== undefined)("images of a mount whose worker is gone", () => {
  it("can't be opened by anybody else, however long the next worker takes; also one attached later", async () => {
    const [a, b, c] = place.images("a", "b", "c");
    await place.format("32M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 21);
    await work.run(5);
    await place.h2ts("attach", "-s", "32M", place.mnt, c);
    await place.h2ts("wait", place.mnt);
    const { supervisorPid, workerPid } = await place.daemon();
    process.kill(supervisorPid, "SIGSTOP");
    stopped = supervisorPid;
    await killed(workerPid);
    for (const image of [a, b, c]) expect(await isFree(image), image).toBe(false);
    expect(await place.run("fsck.h2ts", "-y", a, b, c)).toMatchObject({ code: 8, err: /already in use/ });
    expect(await place.run("mkfs.h2ts", "-q", "-f", c)).toMatchObject({ code: 1, err: /already in use/ });
    process.kill(supervisorPid, "SIGCONT");
    stopped = undefined;
    await work.run(5);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    for (const image of [a, b, c]) expect(await isFree(image), image).toBe(true);
    expect(await place.run("fsck.h2ts", "-n", "-f", a, b, c)).toMatchObject({ code: 0 });
  });

  it("are refused to a second mount while the next worker starts, and commands do not hang on a supervisor that is stopped", async () => {
    const [a, b] = place.images("a", "b");
    await place.format("32M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 23);
    await work.run(5);
    const other = place.mountPoint("other");
    const { supervisorPid, workerPid } = await place.daemon();
    process.kill(workerPid, "SIGKILL");
    const again = await place.run("h2ts", "mount", a, b, other);
    expect(again).toMatchObject({ code: 32, out: "", err: `h2ts: ${a}: is already mounted on ${place.mnt}\n` });
    await place.restarted(1);

    process.kill(supervisorPid, "SIGSTOP");
    stopped = supervisorPid;
    process.kill(Number((await childrenOf(supervisorPid))[0]), "SIGKILL");
    const beganMs = performance.now();
    const asked = ["status", "sync", "umount", "scrub", "upgrade"].map((verb) => place.run("h2ts", verb, place.mnt));
    const answers = await Promise.all([...asked, place.run("h2ts", "status")]);
    for (const { code, err } of answers) {
      // The last of them tells of all mounts there are, those of other tests too.
      const ours = err.split("\n").filter((line) => line.startsWith(`h2ts: ${place.mnt}:`));
      expect(ours).toEqual([expect.stringMatching(/: its daemon does not answer/)]);
      expect(code).not.toBe(0);
    }
    // It can't be told who has them, but they are locked; that is waited for, as for a daemon that is just ending.
    const refused = await place.run("h2ts", "mount", a, b, other);
    expect(refused).toMatchObject({
      code: 32,
      out: "",
      err: expect.stringMatching(/^h2ts: [^\n]*already in use[^\n]*\n$/) as unknown,
    });
    expect(performance.now() - beganMs).toBeLessThan(40_000);
    process.kill(supervisorPid, "SIGCONT");
    stopped = undefined;
    await work.run(5);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    expect(await place.run("fsck.h2ts", "-n", "-f", a, b)).toMatchObject({ code: 0 });
  }, 90_000);

  it("are locked at every moment while workers die, and free at once after an offline and the unmount", async () => {
    const [a, b] = place.images("a", "b");
    await place.format("32M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    let trying = true;
    let tries = 0;
    const opener = (async () => {
      for (; trying; tries++) {
        for (const image of [a, b]) expect(await isFree(image)).toBe(false);
        await sleep(1);
      }
    })();
    opener.catch(() => undefined);
    const work = new Work(place.mnt, 22);
    work.start();
    for (let kills = 0; kills < 3; kills++) {
      process.kill((await place.daemon()).workerPid, "SIGKILL");
      await place.restarted(kills + 1);
    }
    await place.h2ts("upgrade", place.mnt);
    await work.stop();
    trying = false;
    await opener;
    expect(tries).toBeGreaterThan(100);
    await place.h2ts("offline", place.mnt, "1");
    expect(await isFree(b)).toBe(true);
    expect(await isFree(a)).toBe(false);
    // No other worker takes it up again.
    process.kill((await place.daemon()).workerPid, "SIGKILL");
    await place.until(["ONLINE", "OFFLINE"]);
    expect(await isFree(b)).toBe(true);
    await place.h2ts("upgrade", place.mnt);
    expect([await isFree(a), await isFree(b)]).toEqual([false, true]);
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", place.mnt);
    process.kill((await place.daemon()).workerPid, "SIGKILL");
    expect(await isFree(b)).toBe(false);
    await place.until(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    for (const image of [a, b]) expect(await isFree(image), image).toBe(true);
  });
});
