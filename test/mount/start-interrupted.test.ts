// A mount that is interrupted while it waits for a server that does not answer, or meets another one on its folder: nobody is left
// behind, images are free, and what others mounted stays.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, describe, it } from "vitest";
import { openDevice } from "../../src/nbd/open.ts";
import { imageIn } from "../nbd/foreign-servers.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { mountsImpossible, type Outcome, Place } from "./cli-place.ts";
import { isFree } from "./copies-place.ts";

const CLI = resolve(import.meta.dirname, "../../dist/src/cli.js");

let place: Place;
let silent: Server | undefined;
let image: string;
beforeEach(() => {
  place = new Place();
  image = imageIn(place.folder, 32 << 20);
});
afterEach(() => {
  silent?.close();
  place.clear();
});

/** Processes of h2ts that have to do with this place, by their command lines. */
function processes(program: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      const line = readFileSync(join("/proc", pid, "cmdline"), "latin1");
      return line.includes(program) && line.includes(place.folder);
    } catch {
      return false; // It has just ended.
    }
  });
}

/** Begins a mount, in the foreground unless told, whose worker does not get an order; it does when `release` is called. */
async function heldBefore(order: "start" | "serve", mnt: string, flags: readonly string[] = ["--foreground"]) {
  const hold = place.path(`hold-${order}`);
  writeFileSync(hold, "");
  process.env["NODE_OPTIONS"] = `--import ${resolve(import.meta.dirname, "held-worker.mjs")}`;
  process.env["H2TS_HOLDS"] = place.folder;
  let mount: { readonly pid: number; readonly outcome: Promise<Outcome> };
  try {
    mount = place.begin("h2ts", "mount", ...flags, image, mnt);
  } finally {
    delete process.env["NODE_OPTIONS"];
    delete process.env["H2TS_HOLDS"];
  }
  await expect.poll(() => existsSync(place.path(`held-${order}`)), { timeout: 20_000 }).toBe(true);
  return { ...mount, release: () => rmSync(hold) };
}

describe.skipIf(mountsImpossible() !== undefined)("a mount that has just begun", () => {
  it.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)("ends with all that belongs to it on %s", async (signal) => {
    silent = createServer((socket) => socket.on("error", () => undefined)).listen(place.path("silent"));
    const target = `nbd+unix:///x?socket=${place.path("silent")}`;
    const words = ["mount", "--foreground", image, target, place.mountPoint()];
    const mount = spawn(process.execPath, [CLI, ...words], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    mount.stderr.on("data", (text) => (said += text));
    await once(silent, "connection");
    expect(processes("worker-main")).toHaveLength(1);
    const ended = once(mount, "close");
    mount.kill(signal);
    const [code] = (await ended) as [number | null];
    if (signal !== "SIGKILL") {
      expect(said).toMatch(/asked to stop before it was mounted/);
      expect(code).toBe(32);
    }
    await expect.poll(() => processes("worker-main"), { timeout: 5000 }).toEqual([]);
    // The last of its threads closes what it had open.
    await expect.poll(() => isFree(image), { timeout: 5000 }).toBe(true);
  });

  it.each([
    ["start", "SIGINT"],
    ["start", "SIGKILL"],
    ["serve", "SIGTERM"],
  ] as const)("ends with the command that is waiting for it (before %s, by %s)", async (order, signal) => {
    const mnt = place.mountPoint();
    await place.succeeds("mkfs.h2ts", "-q", image);
    const begun = await heldBefore(order, mnt, []);
    expect(place.mounts()).toEqual(order === "serve" ? [mnt] : []);
    process.kill(begun.pid, signal);
    expect((await begun.outcome).code).toBe(null);
    await expect.poll(() => processes("supervisor-main"), { timeout: 10_000 }).toEqual([]);
    expect(processes("worker-main")).toEqual([]);
    expect(place.mounts()).toEqual([]);
    await expect.poll(() => isFree(image), { timeout: 5000 }).toBe(true);
  });

  it("ends, and no other worker is tried, when commands could not reach it", async () => {
    silent = createServer();
    expect(await place.run("mkfs.h2ts", "-q", image)).toMatchObject({ code: 0 });
    // In a world of its own, where the folder of control sockets is a file.
    const script = 'mount -t tmpfs none /run && touch /run/h2ts && exec "$@"';
    place.within = ["unshare", "-m", "bash", "-c", script, "_"];
    const { code, err } = await place.run("h2ts", "mount", "--foreground", image, place.mountPoint());
    expect(err).toMatch(/EEXIST|ENOTDIR/);
    expect(err).not.toMatch(/takes over/);
    expect(code).toBe(2);
    expect(processes("worker-main")).toEqual([]);
    await (await openDevice(image, { writable: true })).close();
  });

  it("is refused, and leaves the other one alone, when another volume was mounted on its folder meanwhile", async () => {
    const [mnt, other] = [place.mountPoint(), place.path("other.img")];
    await place.succeeds("mkfs.h2ts", "-q", image);
    await place.succeeds("mkfs.h2ts", "-q", "-s", "32M", other);
    const begun = await heldBefore("start", mnt);
    await place.succeeds("h2ts", "mount", other, mnt);
    const mounted = mountedVolumeAt(mnt);
    begun.release();
    const { code, err } = await begun.outcome;
    expect(err).toContain(`an h2ts volume (${other}) is already mounted here`);
    expect(code).toBe(32);
    expect(mountedVolumeAt(mnt)).toEqual(mounted);
    expect(place.mounts()).toEqual([mnt]);
    expect(await isFree(image)).toBe(true);
    expect((await place.succeeds("h2ts", "status", mnt)).out).toContain(other);
    await place.succeeds("h2ts", "umount", mnt);
  });

  it.each(["served", "SIGTERM"])("ends, and leaves what was mounted on top of it meanwhile (%s)", async (end) => {
    const mnt = place.mountPoint();
    await place.succeeds("mkfs.h2ts", "-q", image);
    const begun = await heldBefore("serve", mnt);
    expect(place.mounts()).toEqual([mnt]);
    // By a name that is not looked at: nobody serves it yet.
    expect(spawnSync("mount", ["-c", "-t", "tmpfs", "tmpfs", mnt], { timeout: 10_000 }).status).toBe(0);
    if (end === "SIGTERM") process.kill(begun.pid, "SIGTERM");
    else begun.release();
    const { code, err } = await begun.outcome;
    expect(err).toMatch(
      end === "SIGTERM" ? /asked to stop/ : /something else was mounted on it before it could be used/,
    );
    expect(code).toBe(32);
    writeFileSync(join(mnt, "file"), "of the one on top");
    expect(await isFree(image)).toBe(true);
    expect(processes("worker-main")).toEqual([]);
    expect(spawnSync("umount", [mnt]).status).toBe(0);
  });
});
