// How mounts end, and what is left, when a worker is gone or no other can follow: unmount and SIGTERM during a restart, a
// supervisor that is gone, an upgrade that does not serve, a kernel that does not send requests again.

import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { DeviceError } from "../../src/device/device.ts";
import { openNode } from "../../src/device/open.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

async function mounted(): Promise<{ targets: string[]; work: Work; supervisorPid: number; workerPid: number }> {
  const targets = ["a.img", "b.img"].map((name) => place.path(name));
  await place.format("32M", targets);
  await place.h2ts("mount", "-o", `log=${place.path("daemon.log")}`, ...targets, place.mnt);
  const work = new Work(place.mnt, 31);
  await work.run(8);
  return { targets, work, ...(await daemon()) };
}

async function daemon(): Promise<{ supervisorPid: number; workerPid: number; restarts: number }> {
  const { daemon: found } = await place.status();
  if (found === undefined) throw new Error("no daemon");
  return found;
}

/** As the command has it: of the built program. */
const WORKER = join(import.meta.dirname, "../../dist/src/daemon/worker-main.js");

const log = (): string => readFileSync(place.path("daemon.log"), "utf8");

async function isFree(path: string): Promise<boolean> {
  try {
    await (await openNode(path, { writable: true })).close();
    return true;
  } catch (error) {
    if (error instanceof DeviceError && error.operation === "lock") return false;
    throw error;
  }
}

/** Unmounted in order: the images are free, nothing is to be repaired, everything is there. */
async function expectWhole(targets: readonly string[], work: Work): Promise<void> {
  for (const target of targets) expect(await isFree(target), target).toBe(true);
  const checked = await place.run("fsck.h2ts", "-n", "-f", ...targets);
  expect(checked, checked.out).toMatchObject({ code: 0 });
  await place.h2ts("mount", "-o", "ro", ...targets, place.mnt);
  await work.verify();
  await place.h2ts("umount", place.mnt);
}

describe.skipIf(mountsImpossible() !== undefined)("a mount whose worker is gone", () => {
  it("is unmounted in order, by command or by SIGTERM", async () => {
    const { targets, work, workerPid } = await mounted();
    process.kill(workerPid, "SIGKILL");
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
    await place.h2ts("mount", ...targets, place.mnt);
    const again = await daemon();
    process.kill(again.workerPid, "SIGKILL");
    process.kill(again.supervisorPid, "SIGTERM");
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    await expect.poll(() => isFree(targets[0] as string), { timeout: 20_000 }).toBe(true);
    await expectWhole(targets, work);
  });

  it("serves on when the supervisor dies after it restarted the worker, and ends in order", async () => {
    const { targets, work, supervisorPid, workerPid } = await mounted();
    process.kill(workerPid, "SIGKILL");
    await expect.poll(async () => (await daemon()).restarts, { timeout: 20_000 }).toBe(1);
    await killed(supervisorPid);
    await work.run(8);
    for (const target of targets) expect(await isFree(target), target).toBe(false);
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
    await expect.poll(() => isFree(targets[0] as string), { timeout: 20_000 }).toBe(true);
    await expect.poll(() => isFree(targets[1] as string), { timeout: 20_000 }).toBe(true);
    await expectWhole(targets, work);
  });

  it("is followed by another only when that is gone, and not merely says so (trap 4c)", async () => {
    const { targets, work } = await mounted();
    // The worker as it is, but it takes its time to end after it said that it leaves.
    const [slow, seen] = [place.path("slow.mjs"), place.path("seen")];
    const lines = `readFileSync(${JSON.stringify(place.path("daemon.log"))}, "utf8").split("took over").length`;
    writeFileSync(
      slow,
      `import { readFileSync, writeFileSync } from "node:fs";
const exit = process.exit;
process.exit = (code) => {
  const before = ${lines};
  setTimeout(() => {
    writeFileSync(${JSON.stringify(seen)}, String(${lines} - before));
    exit(code);
  }, 1500);
};
await import(${JSON.stringify(WORKER)});
`,
    );
    const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey as string);
    expect((await client?.upgrade(slow))?.error).toBeUndefined();
    client?.close();
    await place.h2ts("upgrade", place.mnt);
    expect(readFileSync(seen, "utf8")).toBe("0");
    await work.run(4);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  const report = { type: "failed", message: "not this version", exitCode: 1 };
  it.each([
    ["dies", 'console.error("not this version"); process.exit(3);\n'],
    ["says that it can't", `process.send(${JSON.stringify(report)}, () => process.exit(1));\n`],
  ])("goes on with the version it had when another does not serve: it %s", async (_, program) => {
    const { targets, work } = await mounted();
    const broken = place.path("broken.mjs");
    writeFileSync(broken, program);
    const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey as string);
    const reply = await client?.upgrade(broken);
    client?.close();
    expect(reply?.error).toBe(`${broken} does not serve; the version before goes on`);
    expect(log()).toMatch(/not this version[\s\S]*does not serve; the version before takes over again/);
    await work.run(4);
    await place.h2ts("upgrade", place.mnt);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("is taken down when no version serves, and whoever asked for the upgrade is told", async () => {
    const { targets } = await mounted();
    const broken = place.path("broken.mjs");
    writeFileSync(broken, `process.send(${JSON.stringify(report)}, () => process.exit(1));\n`);
    for (const target of targets) rmSync(target);
    const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey as string);
    expect((await client?.upgrade(broken))?.error).toMatch(/the mount ended/);
    client?.close();
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
  });

  it("is taken down, with a line that says why, when worker after worker dies before it serves", async () => {
    const { targets, work, supervisorPid } = await mounted();
    let last = 0;
    while (place.mounts().length > 0) {
      const children = await readFile(`/proc/${supervisorPid}/task/${supervisorPid}/children`, "utf8").catch(() => "");
      const pid = Number(children.trim().split(" ").at(-1));
      if (pid > 0 && pid !== last) process.kill((last = pid), "SIGKILL");
      await sleep(2);
    }
    expect(log()).toMatch(/the worker died \(SIGKILL\)[^\n]*; \d+ workers in a row died; the mount is taken down\n/);
    await expect.poll(() => isFree(targets[0] as string), { timeout: 20_000 }).toBe(true);
    // Nobody unmounted it; the log has what was synced, and a prefix of the rest may be all there is.
    await place.h2ts("mount", ...targets, place.mnt);
    await work.run(4);
    await place.h2ts("umount", place.mnt);
    expect(await place.run("fsck.h2ts", "-n", "-f", ...targets)).toMatchObject({ code: 0 });
  }, 60_000);

  it("is taken down where the kernel does not send requests again; mount says so beforehand", async () => {
    const targets = ["a.img", "b.img"].map((name) => place.path(name));
    await place.format("32M", targets);
    process.env["NODE_OPTIONS"] = `--import ${join(import.meta.dirname, "old-kernel.mjs")}`;
    try {
      const outcome = await place.run("h2ts", "mount", ...targets, place.mnt);
      expect(outcome).toMatchObject({ code: 0, out: "" });
      expect(outcome.err).toMatch(/^h2ts: .*this kernel does not send requests again .*the mount is taken down\n$/);
    } finally {
      delete process.env["NODE_OPTIONS"];
    }
    process.kill((await daemon()).workerPid, "SIGKILL");
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    for (const target of targets) expect(await isFree(target), target).toBe(true);
    expect(await place.run("fsck.h2ts", "-p", ...targets)).toMatchObject({ code: expect.any(Number) as number });
  });
});
