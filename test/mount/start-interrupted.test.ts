// A mount that is interrupted while it waits for a server that does not answer: nobody is left behind, and images are free.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, describe, it } from "vitest";
import { openDevice } from "../../src/nbd/open.ts";
import { imageIn } from "../nbd/foreign-servers.ts";
import { mountsImpossible, Place } from "./cli-place.ts";
import { isFree } from "./copies-place.ts";

const CLI = resolve(import.meta.dirname, "../../dist/src/cli.js");

let place: Place;
let silent: Server;
let image: string;
beforeEach(() => {
  place = new Place();
  image = imageIn(place.folder, 32 << 20);
});
afterEach(() => {
  silent.close();
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
});
