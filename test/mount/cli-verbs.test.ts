// The commands end to end, as an operator uses them: mkfs, mount, sync, status, umount, on a real mount.

import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { mountAt } from "../../src/fuse/kernel/mountinfo.ts";
import { isAlive, mountsImpossible, Place } from "./cli-place.ts";

/** Of a volume that is mounted. */
type Status = StatusReport & Required<Pick<StatusReport, "daemon">>;

let place: Place;
beforeEach(() => {
  place = new Place();
});
afterEach(() => place.clear());

async function formatted(...extra: string[]): Promise<[string, string]> {
  const made = await place.run("mkfs.h2ts", "-q", "-L", "test", "-s", "64M", ...extra, "a.img", "b.img");
  expect(made).toEqual({ code: 0, out: "", err: "" });
  return [place.path("a.img"), place.path("b.img")];
}

describe.skipIf(mountsImpossible() !== undefined)("h2ts", () => {
  it("mounts, tells its status, syncs, unmounts, and has it all again", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    expect(await place.run("h2ts", "mount", a, b, mnt)).toEqual({ code: 0, out: "", err: "" });
    writeFileSync(`${mnt}/file`, "kept");
    expect(await place.run("h2ts", "sync", mnt)).toEqual({ code: 0, out: "", err: "" });

    const text = await place.run("h2ts", "status", mnt);
    expect(text.code).toBe(0);
    expect(text.out).toMatch(/^ volume: test \(/);
    expect(text.out).toMatch(/state: ONLINE/);
    expect(text.out).not.toMatch(/action:/);
    expect(text.out).toMatch(/NAME +STATE +READ +WRITE +CKSUM/);
    expect(text.out.trimEnd().split("\n").at(-1)).toBe(" errors: No known data errors");

    const status = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    expect(status).toMatchObject({ state: "ONLINE", volume: { label: "test" } });
    expect(status.copies.map((copy) => copy.targets)).toEqual([[a], [b]]);
    expect(status.copies.filter((copy) => copy.role === "master")).toHaveLength(1);
    for (const copy of status.copies) {
      expect(copy).toMatchObject({ state: "ONLINE", errors: { read: 0, write: 0, checksum: 0 }, repaired: 0 });
      expect(copy.usedBytes).toBeGreaterThan(0);
      expect(copy.sizeBytes).toBeGreaterThan(60 * 2 ** 20);
    }
    const { supervisorPid, workerPid } = status.daemon;
    expect(isAlive(supervisorPid) && isAlive(workerPid)).toBe(true);
    expect((await place.run("h2ts", "status", a)).out).toContain(mnt);
    expect(JSON.parse((await place.run("h2ts", "status", "-j")).out)).toContainEqual(
      expect.objectContaining({ mount: expect.objectContaining({ directory: mnt }) as unknown }),
    );

    expect(await place.run("h2ts", "umount", mnt)).toEqual({ code: 0, out: "", err: "" });
    expect(isAlive(supervisorPid) || isAlive(workerPid)).toBe(false);
    expect(place.mounts()).toEqual([]);
    expect((await place.run("fsck.h2ts", "-n", "-f", a, b)).code).toBe(0);

    const offline = JSON.parse((await place.run("h2ts", "status", "-j", b, a)).out) as StatusReport;
    expect(offline.volume).toEqual(status.volume);
    expect(offline).not.toHaveProperty("daemon");

    expect(await place.run("h2ts", "mount", "-o", "ro", b, a, mnt)).toEqual({ code: 0, out: "", err: "" });
    expect(readFileSync(`${mnt}/file`, "utf8")).toBe("kept");
    expect(() => writeFileSync(`${mnt}/other`, "x")).toThrow(/EROFS/);
    expect((await place.run("h2ts", "mount", "-o", "remount,rw", mnt)).err).toMatch(/opened for reading only/);
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });

  it("syncs nothing, and says so, while the worker is stopped", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    await place.succeeds("h2ts", "mount", a, b, mnt);
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    process.kill(daemon.workerPid, "SIGSTOP");
    const sync = place.begin("h2ts", "sync", mnt);
    // What hangs on the mount ends when its worker goes on.
    const goOn = setTimeout(() => process.kill(daemon.workerPid, "SIGCONT"), 20_000);
    const { code, err } = await sync.outcome;
    clearTimeout(goOn);
    process.kill(daemon.workerPid, "SIGCONT");
    expect({ code, err }).toEqual({
      code: 32,
      err: expect.stringMatching(/^h2ts: .*: its worker does not answer; is its process stopped\?.*\n$/) as unknown,
    });
    await place.succeeds("h2ts", "sync", mnt);
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("syncs what reached the daemon, also where the kernel could not hand over all (I4)", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    await place.succeeds("h2ts", "mount", "-o", "commit=300", a, b, mnt);
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    writeFileSync(`${mnt}/kept`, "kept");
    const fd = openSync(`${mnt}/beyond`, "w");
    // The kernel takes what is past the largest file, and learns that it is too far when it writes it back.
    spawnSync("dd", ["if=/dev/zero", `of=${mnt}/beyond`, "bs=4096", `seek=${2 ** 41}`, "count=1", "conv=notrunc"]);
    closeSync(fd);
    expect(await place.run("h2ts", "sync", mnt)).toMatchObject({
      code: 32,
      err: expect.stringMatching(/^h2ts: .*: what the kernel held of some file could not be written, .*\n$/) as unknown,
    });
    for (const pid of [daemon.supervisorPid, daemon.workerPid]) process.kill(pid, "SIGKILL");
    await vi.waitUntil(() => !isAlive(daemon.workerPid));
    spawnSync("umount", ["-l", mnt]);
    await place.succeeds("h2ts", "mount", a, b, mnt);
    expect(readFileSync(`${mnt}/kept`, "utf8")).toBe("kept");
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("takes targets with commas in their names: mkfs, mount.h2ts and fsck", async () => {
    const mnt = place.mountPoint();
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "a,1.img");
    await place.succeeds("mount.h2ts", "a,1.img", mnt, "-o", "nowarmup");
    await place.succeeds("h2ts", "umount", mnt);
    await place.succeeds("fsck.h2ts", "-f", "a,1.img");
  });

  it("mounts as mount(8) asks, and shows the source as given", async () => {
    await formatted();
    const mnt = place.mountPoint();
    const mounted = await place.run(
      "mount.h2ts",
      "a.img,b.img",
      mnt,
      "-n",
      "-o",
      "rw,nofail,_netdev,x-systemd.automount,noatime",
    );
    expect(mounted).toEqual({ code: 0, out: "", err: "" });
    const line = readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .find((entry) => entry.includes(` ${mnt} `));
    expect(line).toMatch(/ - fuse\.h2ts a\.img,b\.img /);
    expect(line).toMatch(/nosuid,nodev,noatime/);
    expect(
      (await place.run("mount.h2ts", "a.img,b.img", mnt, "-o", "remount,ro,user_id=0,max_read=1048576")).code,
    ).toBe(0);
    expect(() => writeFileSync(`${mnt}/x`, "x")).toThrow(/EROFS/);
    // Of namespaces it knows its own.
    const elsewhere = await place.run("mount.h2ts", "-N", "/proc/self/ns/net", "a.img,b.img", mnt);
    expect(elsewhere).toMatchObject({ code: 1, err: expect.stringMatching(/-N \S+: .*own namespace/) as unknown });
    const own = ["-N", String(process.pid), "-o", "remount,rw", "a.img,b.img", mnt];
    expect((await place.run("mount.h2ts", ...own)).code).toBe(0);
    writeFileSync(`${mnt}/x`, "x");
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });

  it("changes of a live mount what it is told to, and nothing else; under another filesystem nothing", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    const options = (): string | undefined => mountAt(mnt)?.options.join();
    await place.succeeds("h2ts", "mount", "-o", "noexec", a, b, mnt);
    await place.succeeds("h2ts", "mount", "-o", "remount,ro", mnt);
    expect(options()).toBe("ro,nosuid,nodev,noexec,relatime");
    await place.succeeds("h2ts", "mount", "-o", "remount,noatime", mnt);
    expect(options()).toBe("ro,nosuid,nodev,noexec,noatime");
    await place.succeeds("h2ts", "mount", "-o", "remount,rw,exec", mnt);
    expect(options()).toBe("rw,nosuid,nodev,noatime");

    spawnSync("mount", ["-t", "tmpfs", "tmpfs", mnt]);
    try {
      const refused = {
        code: 32,
        err: expect.stringMatching(/another filesystem \(tmpfs\) is mounted on top/) as unknown,
      };
      expect(await place.run("h2ts", "sync", mnt)).toMatchObject(refused);
      expect(await place.run("h2ts", "mount", "-o", "remount,ro", mnt)).toMatchObject(refused);
      expect(mountAt(mnt)).toMatchObject({ type: "tmpfs", options: expect.arrayContaining(["rw"]) as unknown });
    } finally {
      spawnSync("umount", [mnt]);
    }
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("serves on when the supervisor dies, and commits at the unmount", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    process.kill(daemon.supervisorPid, "SIGKILL");
    await expect.poll(() => isAlive(daemon.supervisorPid)).toBe(false);
    writeFileSync(`${mnt}/file`, "kept");
    expect((await place.run("h2ts", "status", mnt)).err).toMatch(/daemon can't be reached/);
    expect((await place.run("h2ts", "umount", mnt)).err).toMatch(/unmounted, but its daemon did not answer/);
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    expect(readFileSync(`${mnt}/file`, "utf8")).toBe("kept");
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });

  it("says that the daemon is dead, and what to do, when supervisor and worker were killed", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    process.kill(daemon.supervisorPid, "SIGKILL");
    process.kill(daemon.workerPid, "SIGKILL");
    await expect.poll(() => isAlive(daemon.supervisorPid) || isAlive(daemon.workerPid)).toBe(false);
    const dead = {
      code: 32,
      err: `h2ts: ${mnt}: its daemon is dead; take the mount off with 'h2ts umount ${mnt}', then mount it again\n`,
    };
    await expect.poll(() => place.run("h2ts", "status", mnt), { timeout: 20_000 }).toMatchObject(dead);
    // However it is named, nothing has to be asked of it for that.
    symlinkSync("mnt", place.path("link"));
    symlinkSync(place.folder, place.path("around"));
    const names = ["mnt", "./mnt/", "link", "around/link/", place.path("around/../around/mnt")];
    for (const name of names) expect(await place.run("h2ts", "status", name), name).toMatchObject(dead);
    for (const verb of ["sync", "scrub"]) expect(await place.run("h2ts", verb, "link")).toMatchObject(dead);
    expect(await place.run("h2ts", "mount", a, b, mnt)).toMatchObject(dead);
    expect((await place.run("h2ts", "mount", a, b, "link")).err).toBe(dead.err.replace(mnt, "link"));
    const unmounted = await place.run("h2ts", "umount", "around/link");
    expect(unmounted.code).toBe(32);
    expect(unmounted.err).toMatch(/: unmounted, but its daemon had died: .*; mount it again, fsck is not needed\n$/);
    await place.succeeds("h2ts", "mount", a, b, mnt);
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("unmounts in order on SIGTERM", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    writeFileSync(`${mnt}/file`, "kept");
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as Status;
    process.kill(daemon.supervisorPid, "SIGTERM");
    await expect.poll(() => isAlive(daemon.supervisorPid), { timeout: 10_000 }).toBe(false);
    expect(place.mounts()).toEqual([]);
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    expect(readFileSync(`${mnt}/file`, "utf8")).toBe("kept");
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });

  it("waits for the images of a mount that umount(8) has just taken away", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    const { spawnSync } = await import("node:child_process");
    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    writeFileSync(`${mnt}/file`, Buffer.alloc(4 << 20, 7));
    expect(spawnSync("umount", [mnt]).status).toBe(0);
    expect(await place.run("h2ts", "mount", a, b, mnt)).toEqual({ code: 0, out: "", err: "" });
    expect(statSync(`${mnt}/file`).size).toBe(4 << 20);
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });
});

describe("mistakes cost one line and change nothing", () => {
  const oneLine = /^[^\n]+\n$/;

  it.skipIf(mountsImpossible() !== undefined)("at mounting", async () => {
    const [a, b] = await formatted();
    const mnt = place.mountPoint();
    const foreign = place.path("foreign.img");
    writeFileSync(foreign, Buffer.alloc(1 << 20, 0x55));
    const empty = place.path("empty.img");
    writeFileSync(empty, "");
    expect((await place.run("mkfs.h2ts", "-q", "-s", "64M", "c.img", "d.img")).code).toBe(0);
    const c = place.path("c.img");
    const short = place.path("short.img");
    writeFileSync(short, readFileSync(b));
    truncateSync(short, 1 << 20);
    const before = [a, b, c].map((path) => readFileSync(path));
    const cases: [words: string[], code: number, message: RegExp][] = [
      [[a, b, place.path("nowhere")], 32, /nowhere: the mount point does not exist/],
      [[a, b, a], 32, /a\.img: is not a folder/],
      [[a, place.path("gone.img"), mnt], 32, /copy 1 is missing.*gone\.img: no such file.*-o degraded/],
      [[a, mnt], 32, /copy 1|b\.img/],
      [[a, a, mnt], 1, /given twice/],
      [[a, foreign, mnt], 32, /foreign\.img/],
      [[empty, mnt], 32, /empty\.img/],
      [[a, short, mnt], 32, /short\.img/],
      [[a, c, mnt], 32, /c\.img: belongs to volume [^\n]*; give targets of one volume only/],
      [[`${a}+`, mnt], 1, /a\.img\+: a node between the plus signs has no name/],
      [["", a, mnt], 1, /target: is empty/],
      [["nbd://", mnt], 1, /nbd:\/\/: '' is no address/],
      [["-o", "bogus", a, b, mnt], 1, /unknown mount option 'bogus'/],
      [["--bogus", a, b, mnt], 1, /unknown option '--bogus'/],
      [["--transport", "smoke", a, b, mnt], 1, /kernel, fuse-native/],
      [[mnt], 1, /targets/],
    ];
    for (const [words, code, message] of cases) {
      const outcome = await place.run("h2ts", "mount", ...words);
      expect({ ...outcome, words }).toMatchObject({ code, out: "" });
      expect(outcome.err).toMatch(message);
      expect(outcome.err).toMatch(oneLine);
      expect(place.mounts()).toEqual([]);
    }
    expect([a, b, c].map((path, i) => readFileSync(path).equals(before[i] as Buffer))).toEqual([true, true, true]);

    expect((await place.run("h2ts", "mount", a, b, mnt)).code).toBe(0);
    const again = await place.run("h2ts", "mount", a, b, place.mountPoint("other"));
    expect(again).toMatchObject({ code: 32, out: "" });
    expect(again.err).toContain(`already mounted on ${mnt}`);
    const over = await place.run("h2ts", "mount", c, place.path("d.img"), mnt);
    expect(over.err).toMatch(/already mounted here/);
    const format = await place.run("mkfs.h2ts", "-f", a);
    expect(format).toMatchObject({ code: 1, out: "" });
    expect(format.err).toMatch(/in use/);
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });

  it("of words, and the line says where to read on", async () => {
    for (const [words, line] of [
      [["offline", "mnt"], /missing required argument 'COPY'; see h2ts offline --help$/],
      [["detach", "mnt", "0", "more"], /Expected 2 arguments but got 3; see h2ts detach --help$/],
      [["statsu"], /unknown command 'statsu'.*status.*; see h2ts --help$/],
      [["resync", "mnt"], /begins by itself.*h2ts online.*fsck\.h2ts --resync/],
    ] as const) {
      const { code, out, err } = await place.run("h2ts", ...words);
      expect({ code, out }, words.join(" ")).toEqual({ code: 1, out: "" });
      expect(err.trimEnd()).toMatch(line);
    }
    const gone = await place.run("h2ts", "offline", place.path("nowhere"), "0");
    expect(gone.code).toBe(32);
    expect(gone.err).toMatch(/nowhere: the mount point does not exist/);
  });

  it("at unmounting, syncing and asking for status", async () => {
    const mnt = place.mountPoint();
    for (const verb of ["umount", "sync", "status"]) {
      const outcome = await place.run("h2ts", verb, mnt);
      expect(outcome).toMatchObject({ code: 32, out: "" });
      expect(outcome.err).toMatch(/no h2ts volume is mounted here/);
      expect(outcome.err).toMatch(oneLine);
    }
    expect((await place.run("h2ts", "status", "gone.img")).err).toMatch(/^h2ts: .*gone\.img: no such file/);
    const bare = await place.run("h2ts", "mount");
    expect(bare).toMatchObject({ code: 1, out: "" });
    expect(bare.err).toMatch(/^h2ts: give the targets[^\n]*: h2ts mount [^\n]*TARGET\.\.\. DIR\n$/);
    expect(await place.run("h2ts", "frobnicate")).toMatchObject({ code: 1, out: "" });
  });

  it("of mount.h2ts", async () => {
    for (const words of [[], ["spec"], ["a", "b", "c"], ["-o"], ["-q", "a", "b"]]) {
      const outcome = await place.run("mount.h2ts", ...words);
      expect(outcome).toMatchObject({ code: 1, out: "" });
      expect(outcome.err).toMatch(/usage: mount\.h2ts/);
      expect(outcome.err).toMatch(oneLine);
    }
  });
});
