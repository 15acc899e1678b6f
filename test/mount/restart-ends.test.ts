// How mounts end, and what is left, when a worker is gone or no other can follow: unmount and SIGTERM during a restart, a
// supervisor that is gone, an upgrade that does not serve, a kernel that does not send requests again.

import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { OwnMount } from "../../src/daemon/own-mount.ts";
import { isAlive, mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, isFree, killed, untilFree, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

async function mounted(): Promise<{ targets: string[]; work: Work; supervisorPid: number; workerPid: number }> {
  const targets = await place.mounted("32M");
  const work = new Work(place.mnt, 31);
  await work.run(8);
  return { targets, work, ...(await place.daemon()) };
}

/** As the command has it: of the built program. */
const WORKER = join(import.meta.dirname, "../../dist/src/daemon/worker-main.js");

const report = { type: "failed", message: "not this version", exitCode: 1 };
/** Program of a worker that comes up and can't open the volume. */
const REFUSING = `process.on("message", ({ type, id }) => {
  if (type === "status") process.send({ type: "answer", id, error: "not mounted" });
  else process.send(${JSON.stringify(report)}, () => process.exit(1));
});
`;

/** As the command does it, to any program; the answer is what went wrong. */
async function upgrade(program: string): Promise<string | undefined> {
  const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey as string);
  const reply = await client?.upgrade(program);
  client?.close();
  return reply === undefined ? "no answer" : reply.error;
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
    const again = await place.daemon();
    process.kill(again.workerPid, "SIGKILL");
    process.kill(again.supervisorPid, "SIGTERM");
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    await untilFree(targets);
    await expectWhole(targets, work);
  });

  it("says how it is, and makes everything durable, by the next worker when one dies before it has answered", async () => {
    const { targets, work, workerPid } = await mounted();
    process.kill(workerPid, "SIGSTOP");
    const asked = Promise.all([place.status(), place.h2ts("sync", place.mnt)]);
    await sleep(500);
    process.kill(workerPid, "SIGKILL");
    const [{ daemon }] = await asked;
    expect(daemon?.restarts).toBe(1);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("serves on when the supervisor dies after it restarted the worker, and ends in order", async () => {
    const { targets, work, supervisorPid, workerPid } = await mounted();
    process.kill(workerPid, "SIGKILL");
    await place.restarted(1);
    await killed(supervisorPid);
    await work.run(8);
    for (const target of targets) expect(await isFree(target), target).toBe(false);
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
    await untilFree(targets);
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
process.once("exit", () => {
  const before = ${lines};
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
  writeFileSync(${JSON.stringify(seen)}, String(${lines} - before));
});
await import(${JSON.stringify(WORKER)});
`,
    );
    expect(await upgrade(slow)).toBeUndefined();
    await place.h2ts("upgrade", place.mnt);
    expect(readFileSync(seen, "utf8")).toBe("0");
    await work.run(4);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("goes on without a hitch when a worker can't take requests any more: its process ends, and the next one has everything (I4)", async () => {
    const loaded = `--import ${join(import.meta.dirname, "failing-loop.mjs")}`;
    Object.assign(process.env, { NODE_OPTIONS: loaded, H2TS_FAILS: place.folder });
    const { targets, work, workerPid } = await mounted().finally(() => {
      for (const name of ["NODE_OPTIONS", "H2TS_FAILS"]) delete process.env[name];
    });
    work.start();
    for (const times of [1, 2]) {
      writeFileSync(place.path("fail"), "");
      await place.restarted(times);
    }
    await work.stop();
    expect(isAlive(workerPid)).toBe(false);
    expect(place.log()).toMatch(
      /the worker died \(exit code 32\): .*RangeError: Array buffer .*; another one takes over\n/,
    );
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  }, 120_000);

  it("is not given up for another version that does not come up: one that dies, one that says that it can't", async () => {
    const { targets, work, workerPid } = await mounted();
    const broken = place.path("broken.mjs");
    for (const program of [
      'console.error("not this version"); process.exit(3);\n',
      `process.send(${JSON.stringify(report)}, () => process.exit(1));\n`,
    ]) {
      writeFileSync(broken, program);
      expect(await upgrade(broken)).toMatch(
        /broken\.mjs does not come up \(.*not this version\); the version before goes on$/,
      );
    }
    expect(await place.daemon()).toMatchObject({ workerPid, restarts: 0 });
    // Whoever comes second waits for the first.
    await Promise.all([place.h2ts("upgrade", place.mnt), place.h2ts("upgrade", place.mnt)]);
    expect((await place.daemon()).restarts).toBe(2);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("goes on with the version it had when another does not serve, even where the files are the same", async () => {
    const { targets, work } = await mounted();
    const [program, loaded] = [place.path("program.mjs"), place.path("loaded")];
    const note = `appendFileSync(${JSON.stringify(loaded)}, "loaded\\n");`;
    writeFileSync(
      program,
      `import { appendFileSync } from "node:fs";\nawait import(${JSON.stringify(WORKER)});\n${note}\n`,
    );
    expect(await upgrade(program)).toBeUndefined();
    // By the worker, and by its spare.
    await expect.poll(() => readFileSync(loaded, "utf8"), { timeout: 20_000 }).toBe("loaded\nloaded\n");
    writeFileSync(program, REFUSING);
    expect(await upgrade(program)).toBe(`${program} does not serve (not this version); the version before goes on`);
    expect(place.log()).toMatch(/not this version[\s\S]*does not serve; the version before takes over again/);
    await work.run(4);
    await place.h2ts("upgrade", place.mnt);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("goes on, and says why, when another version can't read what it is to begin with, or is not understood", async () => {
    const { targets, work } = await mounted();
    const program = place.path("program.mjs");
    for (const [change, message] of [
      ["name === 'message' && one.type === 'start' && (one.request.options.later = 1)", /"start".*options: .*"later"/],
      ["name === 'opened' && delete one.volumeUuid", /"opened".*: volumeUuid: /],
    ] as const) {
      writeFileSync(
        program,
        `const change = (name, one) => ${change};
const { emit, send } = process;
process.emit = (name, one, ...rest) => (change(name, one), emit.call(process, name, one, ...rest));
process.send = (one, ...rest) => (change(one.type, one), send.call(process, one, ...rest));
await import(${JSON.stringify(WORKER)});
`,
      );
      const refusal = await upgrade(program);
      expect(refusal).toMatch(message);
      expect(refusal).toMatch(/^[^\n]* does not serve \(.* makes no sense .*\); the version before goes on$/);
    }
    await work.run(4);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  }, 120_000);

  it("is taken down when no version serves, and whoever asked for the upgrade is told", async () => {
    const { targets } = await mounted();
    const broken = place.path("broken.mjs");
    writeFileSync(broken, REFUSING);
    for (const target of targets) rmSync(target);
    expect(await upgrade(broken)).toMatch(/the mount ended/);
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
  });

  it("goes on when there was no room for another process for a while", async () => {
    const { targets, work, supervisorPid } = await mounted();
    const limit = (files: number | string): void =>
      void expect(spawnSync("prlimit", ["--pid", String(supervisorPid), `--nofile=${files}:`]).status).toBe(0);
    const before = readFileSync(`/proc/${supervisorPid}/limits`, "utf8").match(
      /^Max open files +(\d+)/m,
    )?.[1] as string;
    // None that it does not have already; what its dying children had is of no use either.
    limit(3);
    try {
      const children = readFileSync(`/proc/${supervisorPid}/task/${supervisorPid}/children`, "utf8").trim();
      for (const pid of children.split(" ")) process.kill(Number(pid), "SIGKILL");
      await expect.poll(() => place.log(), { timeout: 20_000 }).toContain("no worker can be started");
    } finally {
      limit(before);
    }
    await work.run(2);
    expect(place.log().split("took over")).toHaveLength(2);
    await place.h2ts("umount", place.mnt);
    await expectWhole(targets, work);
  });

  it("takes nothing off that is mounted in its place, and no hangup ends it", async () => {
    const { targets, supervisorPid, workerPid } = await mounted();
    process.kill(supervisorPid, "SIGHUP");
    const handle = await open(join(place.mnt, "busy"), "w");
    expect(spawnSync("umount", ["-l", place.mnt]).status).toBe(0);
    expect(spawnSync("mount", ["-t", "tmpfs", "tmpfs", place.mnt]).status).toBe(0);
    expect(place.log()).not.toContain("asked to stop");
    process.kill(supervisorPid, "SIGTERM");
    await expect.poll(() => place.log(), { timeout: 20_000 }).toMatch(/mnt is unmounted already; it ends when/);
    for (const target of targets) rmSync(target);
    process.kill(workerPid, "SIGKILL");
    await expect.poll(() => place.log(), { timeout: 20_000 }).toMatch(/the mount is taken down\n(.*\n)*.*ending: /);
    expect(place.mounts()).toEqual([place.mnt]);
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
    await handle.close().catch(() => undefined);
  });

  it("is unmounted by a second SIGTERM when the first came while something was mounted on it", async () => {
    const { targets, work, supervisorPid } = await mounted();
    expect(spawnSync("mount", ["-t", "tmpfs", "tmpfs", place.mnt]).status).toBe(0);
    process.kill(supervisorPid, "SIGTERM");
    await expect.poll(() => place.log(), { timeout: 20_000 }).toMatch(/can't be unmounted: something else is mounted/);
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
    process.kill(supervisorPid, "SIGTERM");
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    await untilFree(targets);
    await expectWhole(targets, work);
  });

  it("leaves what is below it where it is, when it is asked to end twice at once", async () => {
    expect(spawnSync("mount", ["-t", "tmpfs", "tmpfs", place.mnt]).status).toBe(0);
    const { targets } = await mounted();
    const own = OwnMount.on(place.mnt, targets.join(","));
    const [first, second] = await Promise.all([own?.detach(), own?.detach()]);
    expect(first).toBeUndefined();
    expect(second).toMatch(/is unmounted already/);
    expect(place.mounts()).toEqual([place.mnt]);
    await untilFree(targets);
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
  });

  it("is told from another volume that is mounted on top of it", async () => {
    const { targets } = await mounted();
    const [above, other] = [place.path("above.img"), place.mountPoint("other")];
    const key = mountedVolumeAt(place.mnt)?.deviceKey;
    await place.format("32M", [above]);
    await place.h2ts("mount", above, other);
    expect(spawnSync("mount", ["--bind", other, place.mnt]).status).toBe(0);
    const own = OwnMount.on(place.mnt, targets.join(","));
    expect(own).toMatchObject({ deviceKey: key, standing: "covered" });
    expect(await own?.detach()).toMatch(/something else is mounted on it/);
    expect(OwnMount.on(place.mnt, above)).toMatchObject({ standing: "topmost" });
    expect(spawnSync("umount", [place.mnt]).status).toBe(0);
    expect(own?.standing).toBe("topmost");
    for (const mnt of [place.mnt, other]) await place.h2ts("umount", mnt);
    expect(own?.standing).toBe("gone");
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
    expect(place.log()).toMatch(
      /the worker died \(SIGKILL\)[^\n]*; \d+ workers in a row died; the mount is taken down\n/,
    );
    await untilFree(targets);
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
    process.kill((await place.daemon()).workerPid, "SIGKILL");
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    await untilFree(targets);
    // Sound, or with something mended that needs nobody's word: no error is left.
    expect((await place.run("fsck.h2ts", "-p", ...targets)).code).toBeOneOf([0, 1]);
  });
});
