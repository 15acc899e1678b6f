// A volume with a copy at home and one on a server of others: the server restarts in the middle of work, goes away for longer,
// and comes back; nobody notices but the log and the status.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type ForeignServer,
  freePort,
  imageIn,
  startNbdkit,
  startNbdkitOn,
  startUndying,
  startUndyingExport,
  temporaryFolder,
} from "../nbd/foreign-servers.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";
import { scrape } from "./scrape.ts";

const MIB = 1024 * 1024;

let place: CopiesPlace;
let server: ForeignServer;
let local: string;
let away: ReturnType<typeof temporaryFolder>;
beforeEach(async () => {
  place = new CopiesPlace();
  local = imageIn(place.folder, 96 * MIB, "local.img");
  away = temporaryFolder();
  imageIn(away.path, 96 * MIB, "remote.img");
  server = await start();
});
afterEach(async () => {
  place.clear();
  await server.stop();
  away.dispose();
});

const start = (): Promise<ForeignServer> => startNbdkit(away.path, ["file", `${away.path}/remote.img`]);

/** Lines of the daemon's log that say this. */
async function told(words: RegExp): Promise<number> {
  return (await place.status()).notes.filter((line) => words.test(line)).length;
}

describe.skipIf(mountsImpossible() !== undefined)("a copy on a server", () => {
  it("stays in sync when its server is killed and restarted at once, whatever is being written", async () => {
    await server.stop();
    const undying = await startUndying(away.path, ["file", `${away.path}/remote.img`]);
    server = undying;
    expect(await place.run("mkfs.h2ts", "-q", local, server.target)).toMatchObject({ code: 0, out: "", err: "" });
    const metricsPort = await freePort();
    await place.h2ts("mount", "-o", `deadline=20000,metrics=${metricsPort}`, local, server.target, place.mnt);
    const work = new Work(place.mnt, 11);
    work.start();
    for (let round = 1; round <= 3; round++) {
      undying.kill();
      const remote = async (): Promise<unknown> => (await place.status()).copies[1];
      await expect
        .poll(remote, { timeout: 20_000 })
        .toMatchObject({ state: "ONLINE", nodes: [{ connection: { state: "connected", reconnects: round } }] });
      await work.stop();
      work.start();
    }
    await work.stop();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await work.verify();
    const report = await place.run("h2ts", "status", "-v", place.mnt);
    expect(report.out).toMatch(
      /remote, [\d.]+M\n +connected, by \S+undying.sock; round trip [\d.]+ ms\n.*[1-9]\d* reconnects\n/,
    );
    const metrics = await scrape({ port: metricsPort });
    expect(metrics).toMatch(/^h2ts_node_reconnects_total\{copy="1",node="0",target="nbd\+unix:.*"\} 3$/m);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [local, server.target]);
  });

  it.each([
    ["a server of others", () => startUndying(away.path, ["file", `${away.path}/remote.img`])],
    ["an export of ours", () => startUndyingExport(away.path, `${away.path}/remote.img`)],
  ] as const)("is in sync in the end when worker and server are killed at once: %s", async (_, startIt) => {
    await server.stop();
    const undying = await startIt();
    server = undying;
    expect(await place.run("mkfs.h2ts", "-q", local, server.target)).toMatchObject({ code: 0, out: "", err: "" });
    await place.h2ts("mount", "-o", "deadline=20000,nbd-connections=3", local, server.target, place.mnt);
    const work = new Work(place.mnt, 14);
    work.start();
    for (let round = 0; round < 4; round++) {
      const worker = (await place.daemon()).workerPid;
      const kills = [() => undying.kill(), () => process.kill(worker, "SIGKILL")];
      for (const kill of round % 2 === 0 ? kills : kills.reverse()) kill();
      await expect.poll(async () => (await place.status()).daemon?.workerPid, { timeout: 20_000 }).not.toBe(worker);
      await place.until(["ONLINE", "ONLINE"]);
      await work.stop();
      work.start();
    }
    await work.stop();
    await work.verify();
    const remote = async (): Promise<unknown> => (await place.status()).copies[1]?.nodes[0]?.connection;
    await expect.poll(remote).toMatchObject({ state: "connected", connections: 3 });
    const report = await place.run("h2ts", "status", "-v", place.mnt);
    expect(report.out).toMatch(/ connected 3 times, by \S+undying.sock;/);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [local, server.target]);
  });

  it("leaves when its server stays away, the others go on, and it comes back by itself and is caught up", async () => {
    expect(await place.run("mkfs.h2ts", "-q", local, server.target)).toMatchObject({ code: 0, out: "", err: "" });
    await place.h2ts("mount", "-o", "deadline=1000", local, server.target, place.mnt);
    const work = new Work(place.mnt, 12);
    work.start();
    await server.stop();
    await place.until(["ONLINE", "FAULTED"]);
    expect(await told(/given up: no (answer|connection)/)).toBe(1);
    await work.stop();
    expect(await place.run("h2ts", "online", place.mnt, "1")).toMatchObject({ code: 2, out: "" });
    work.start();
    server = await start();
    await place.until(["ONLINE", "ONLINE"]);
    await work.stop();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [local, server.target]);
  });

  it("is missing, and no more, when its server is not there at the mount; replace puts a copy on another one", async () => {
    const spare = imageIn(place.folder, 96 * MIB, "spare.img");
    expect(await place.run("mkfs.h2ts", "-q", local, spare, server.target)).toMatchObject({ code: 0, err: "" });
    await server.stop();
    const spec = [local, spare, server.target].join(",");
    const mounted = await place.run("mount.h2ts", spec, place.mnt);
    expect(mounted).toMatchObject({ code: 0, out: "" });
    expect(mounted.err).toMatch(/copy 2 [^\n]*MISSING/);
    const work = new Work(place.mnt, 13);
    await work.run(20);
    server = await start();
    expect((await place.run("h2ts", "replace", place.mnt, "1", server.target)).err).toMatch(
      /holds an h2ts volume|already in use/,
    );
    const overTcp = await startNbdkitOn(await freePort(), ["file", `${away.path}/remote.img`]);
    const attached = await place.run("h2ts", "attach", place.mnt, overTcp.target).finally(overTcp.stop);
    expect(attached.err).toMatch(/holds an h2ts volume/);
    await place.h2ts("online", place.mnt, "2");
    const row = [imageIn(place.folder, 48 * MIB, "half.img"), imageIn(place.folder, 64 * MIB, "second.img")];
    const second = await startNbdkit(away.path, ["file", row[1] as string], "second");
    try {
      await place.h2ts("replace", "-w", place.mnt, "1", `${row[0]}+${second.target}`);
      await place.h2ts("wait", place.mnt);
      await work.run(20);
      expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
      await place.h2ts("umount", place.mnt);
      await place.examine(work, [local, server.target, `${row[0]}+${second.target}`]);
    } finally {
      await second.stop();
    }
  });
});
