// Mounts as the rest of the system sees them: bound elsewhere, hidden, held by another mount namespace, made by ordinary users.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountedVolumes } from "../../src/daemon/mount-table.ts";
import { DIST, mountsImpossible, Place } from "./cli-place.ts";
import { MountNamespace } from "./mount-namespace.ts";

/** One that every system has: fusermount3 wants a name. */
const USER = "nobody";

let place: Place;
let held: MountNamespace | undefined;
beforeEach(() => {
  place = new Place();
});
afterEach(async () => {
  await held?.release();
  held = undefined;
  place.clear();
});

const system = (command: string, ...words: string[]): void =>
  expect(spawnSync(command, words), `${command} ${words.join(" ")}`).toMatchObject({ status: 0 });

describe.skipIf(mountsImpossible() !== undefined)("a mount", () => {
  it("is one volume however often it is bound, and unmounted when nothing else would be left of it", async () => {
    const [first, second] = ["disk+1.img", "disk+2.img"].map((name) => {
      writeFileSync(place.path(name), "");
      truncateSync(place.path(name), 64 << 20);
      return place.path(name);
    }) as [string, string];
    const [mnt, other, bound] = [place.mountPoint(), place.mountPoint("other"), place.mountPoint("bound")];
    for (const image of [first, second]) await place.succeeds("mkfs.h2ts", "-q", image);
    await place.succeeds("h2ts", "mount", first, mnt);
    // Of a path with a plus sign nothing is shared with another one.
    await place.succeeds("h2ts", "mount", second, other);
    expect((await place.run("h2ts", "mount", first, bound)).err).toMatch(`is already mounted on ${mnt}`);

    system("mount", "--bind", mnt, bound);
    // What `h2ts status` shows, and asks.
    expect(mountedVolumes().filter(({ directory }) => [mnt, bound].includes(directory))).toHaveLength(1);
    expect((await place.run("h2ts", "umount", mnt)).err).toMatch(`also mounted on ${bound}`);
    system("umount", bound);
    await place.succeeds("h2ts", "umount", mnt);
    await place.succeeds("h2ts", "umount", other);
  });

  it("from a folder with plus signs in its name goes on without the image that is gone from there", async () => {
    const [mnt, folder] = [place.mountPoint(), place.mountPoint("c++")];
    place.within = ["env", "-C", folder];
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "a.img", "b.img");
    rmSync(join(folder, "a.img"));
    expect(await place.run("h2ts", "mount", "-o", "degraded", "a.img", "b.img", mnt)).toMatchObject({
      code: 0,
      err: expect.stringMatching(/copy 0 [^\n]*is MISSING[^\n]*c\+\+\/a\.img: no such file/) as unknown,
    });
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("that another namespace has is waited for, and that is said", async () => {
    const mnt = place.mountPoint();
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", place.path("a.img"));
    await place.succeeds("h2ts", "mount", place.path("a.img"), mnt);
    held = await MountNamespace.hold(place.folder, "");
    const umount = spawn(process.execPath, [join(DIST, "src/cli.js"), "umount", mnt]);
    const ended = new Promise((resolve) => umount.once("close", resolve));
    const said = await new Promise<string>((resolve) => umount.stderr.once("data", (chunk) => resolve(String(chunk))));
    expect(said).toMatch(/^h2ts: .*mnt: unmounted; waiting .*another mount namespace .* ' 0:\d+ '[^\n]*\n$/);
    await held.release();
    expect(await ended).toBe(0);
  });
});

const uid = Number(spawnSync("id", ["-u", USER], { encoding: "utf8" }).stdout);
const asUser = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
const usersImpossible = (): boolean =>
  mountsImpossible() !== undefined ||
  [
    ["fusermount3", "-V"],
    [...asUser, process.execPath, join(DIST, "src/cli.js"), "-V"],
    ["nsenter", "-V"],
  ].some(([command = "", ...words]) => spawnSync(command, words).status !== 0);

describe.skipIf(usersImpossible())("an ordinary user", () => {
  const withoutLogin = `/tmp/h2ts-${uid}`;
  const wasThere = existsSync(withoutLogin);
  afterEach(() => {
    if (!wasThere) rmSync(withoutLogin, { recursive: true, force: true });
  });

  /** A namespace in which the user may mount, with these settings of fuse.conf; unless told otherwise none. */
  async function namespace(settings = ""): Promise<MountNamespace> {
    writeFileSync(place.path("fuse.conf"), settings);
    // The device of this machine may be root's alone.
    mkdirSync(place.path("dev"));
    held = await MountNamespace.hold(
      place.folder,
      `set -e; mount -t tmpfs none ${place.path("dev")}; mknod -m 666 ${place.path("dev/fuse")} c 10 229
       mount --bind ${place.path("dev/fuse")} /dev/fuse
       mount --bind ${place.path("fuse.conf")} /etc/fuse.conf`,
    );
    return held;
  }

  it("mounts with what fusermount3 can do, and uses the mount from another environment", async () => {
    const { inside, pid } = await namespace();
    const [mnt, image, runtime] = [place.mountPoint(), place.path("a.img"), place.path("run")];
    mkdirSync(runtime);
    for (const path of [place.folder, mnt, runtime]) chownSync(path, uid, uid);
    mkdirSync(place.path("closed"));
    chmodSync(place.path("closed"), 0o700);
    const atLogin = [...inside, ...asUser, "env", `XDG_RUNTIME_DIR=${runtime}`];
    place.within = [...inside, ...asUser, "env", "-u", "XDG_RUNTIME_DIR"];
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", image);
    const refused = await place.run("h2ts", "mount", "-o", "noexec,strictatime", image, mnt);
    expect(refused).toEqual({ code: 1, out: "", err: "h2ts: only root may mount with strictatime\n" });
    expect((await place.run("h2ts", "get", "copies", place.path("closed/x"))).err).toMatch(/x: permission denied$/m);
    await place.succeeds("h2ts", "mount", "-o", "noexec,diratime,relatime", image, mnt);
    expect(readFileSync(`/proc/${pid}/mountinfo`, "utf8")).toMatch(`${mnt} rw,nosuid,nodev,noexec,relatime `);

    place.within = atLogin;
    await place.succeeds("h2ts", "sync", mnt);
    place.within = inside;
    expect((await place.succeeds("h2ts", "status", mnt)).out).toMatch(/state: ONLINE/);
    place.within = atLogin;
    await place.succeeds("h2ts", "umount", mnt);
  });

  it("lets others in where fuse.conf allows that, and mounts nothing where it does not", async () => {
    const { inside, pid } = await namespace("# nothing\n");
    const [mnt, image] = [place.mountPoint(), place.path("a.img")];
    chmodSync(place.folder, 0o755);
    for (const path of [place.folder, mnt]) chownSync(path, uid, uid);
    place.within = [...inside, ...asUser, "env", "-u", "XDG_RUNTIME_DIR"];
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", image);
    const mountLine = (): string | undefined =>
      readFileSync(`/proc/${pid}/mountinfo`, "utf8")
        .split("\n")
        .find((line) => line.includes(` ${mnt} `));
    expect(await place.run("h2ts", "mount", "-o", "allow_other", image, mnt)).toEqual({
      code: 2,
      out: "",
      err: expect.stringMatching(/^h2ts: [^\n]*allow_other[^\n]*user_allow_other[^\n]*fuse\.conf\n$/) as unknown,
    });
    expect(mountLine()).toBeUndefined();

    writeFileSync(place.path("fuse.conf"), "user_allow_other\n");
    const file = join(mnt, "file");
    const as = (user: number, script: string): string => {
      const words = [...inside.slice(1), "setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
      return spawnSync("nsenter", [...words, "sh", "-c", script], { encoding: "utf8" }).stdout;
    };
    const others = uid + 1;
    for (const [options, seen] of [
      ["nowarmup", ""],
      ["allow_other", "for all\n"],
    ] as const) {
      await place.succeeds("h2ts", "mount", "-o", options, image, mnt);
      as(uid, `umask 022; echo for all > ${file}; echo for one > ${file}.own; chmod 600 ${file}.own`);
      expect(mountLine()?.includes("allow_other")).toBe(options === "allow_other");
      expect(as(others, `cat ${file} ${file}.own 2>/dev/null`)).toBe(seen);
      expect(as(uid, `cat ${file} ${file}.own`)).toBe("for all\nfor one\n");
      await place.succeeds("h2ts", "umount", mnt);
    }
  });
});
