// Copies and nodes that an operator suspends on a real mount: what another copy can stand in for goes on, what none can waits
// when it was frozen, and nothing waits for good; and nodes that move.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { imageIn, startExport, startNbdkit, startUndying, temporaryFolder } from "../nbd/foreign-servers.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed, untilFree, Work } from "./copies-place.ts";

const MIB = 1024 * 1024;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** Tells whether `work` is over after so long. */
async function isOver(work: Promise<unknown>, ms: number): Promise<boolean> {
  return Promise.race([work.then(() => true), sleep(ms, false)]);
}

/** A program that writes a file and has it made durable; not in this process, whose threads it would hold. */
async function writer(path: string, text: string): Promise<number | null> {
  const program = `const fs=require("fs"),fd=fs.openSync(process.argv[1],"w");fs.writeSync(fd,process.argv[2]);fs.fsyncSync(fd)`;
  const child = spawn(process.execPath, ["-e", program, path, text], { stdio: "ignore" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

async function frozenVolume(): Promise<string> {
  const [a] = place.images("a");
  await place.format("64M", [a]);
  await place.h2ts("mount", "-o", "deadline=500", a, place.mnt);
  writeFileSync(`${place.mnt}/before`, "kept");
  return a;
}

describe.skipIf(mountsImpossible() !== undefined)("a copy that can't be spared", () => {
  it("is refused, or frozen: programs wait, status answers, resume lets all go on", async () => {
    const a = await frozenVolume();
    const refused = await place.run("h2ts", "suspend", place.mnt, "0");
    expect(refused).toMatchObject({ code: 32, out: "" });
    expect(refused.err).toMatch(/copy 0 is needed/);
    const answer = await place.run("h2ts", "suspend", "-j", "--freeze", place.mnt, "0");
    expect(JSON.parse(answer.out)).toMatchObject({ copies: [{ state: "FROZEN", nodes: [{ held: "FROZEN" }] }] });
    const before = readFileSync(a);
    const writing = writer(`${place.mnt}/waits`, "durable at last");
    expect(await isOver(writing, 3000)).toBe(false);
    // What is in memory is served, and what is on the image stays as it is: it was flushed, and may be copied.
    expect(readFileSync(`${place.mnt}/before`, "utf8")).toBe("kept");
    expect(readFileSync(a).equals(before)).toBe(true);
    const report = await place.run("h2ts", "status", place.mnt);
    expect(report.out).toMatch(/Copy 0 is frozen.*\n +action: 'h2ts resume .* 0'/);
    for (const words of [
      ["offline", place.mnt, "0"],
      ["attach", "-s", "64M", place.mnt, place.path("b.img")],
      ["upgrade", place.mnt],
      ["suspend", place.mnt, "0"],
    ]) {
      const blocked = await place.run("h2ts", ...words);
      expect(blocked, words.join(" ")).toMatchObject({ out: "" });
      expect(blocked.code, words.join(" ")).not.toBe(0);
      expect(blocked.err).toMatch(/frozen/);
    }
    await place.h2ts("suspend", "--freeze", place.mnt, "0");
    expect(await isOver(writing, 0)).toBe(false);
    await place.h2ts("resume", place.mnt, "0");
    expect(await writing).toBe(0);
    expect(await place.states()).toEqual(["ONLINE"]);
    expect(await readFile(`${place.mnt}/waits`, "utf8")).toBe("durable at last");
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", a);
  });

  it("is resumed by an unmount, h2ts umount or umount(8), and by SIGTERM", async () => {
    const a = await frozenVolume();
    for (const way of ["h2ts", "umount", "SIGTERM"]) {
      await place.h2ts("suspend", "--freeze", place.mnt, "0");
      const { supervisorPid } = await place.daemon();
      mkdirSync(`${place.mnt}/by-${way}`);
      if (way === "h2ts") await place.h2ts("umount", place.mnt);
      else if (way === "umount") expect(await exitOf("umount", place.mnt)).toBe(0);
      else {
        // It is in use: the mount goes on for this program, and what it waits for comes.
        const writing = writer(`${place.mnt}/by-${way}/waits`, "x");
        expect(await isOver(writing, 500)).toBe(false);
        expect(await place.run("h2ts", "umount", place.mnt)).toMatchObject({ code: 32 });
        process.kill(supervisorPid, "SIGTERM");
        expect(await writing).toBe(0);
      }
      await place.h2ts("mount", "-o", "deadline=500", a, place.mnt);
      expect(readdirSync(`${place.mnt}/by-${way}`)).toEqual(way === "SIGTERM" ? ["waits"] : []);
    }
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", a);
  });

  it("is resumed when it was unmounted lazily, whatever is mounted there by then", async () => {
    const a = await frozenVolume();
    const [b] = place.images("b");
    const other = place.mountPoint("other");
    await place.format("32M", [b]);
    await place.h2ts("mount", b, other);
    await place.h2ts("suspend", "--freeze", place.mnt, "0");
    const writing = writer(`${place.mnt}/waits`, "x");
    expect(await isOver(writing, 500)).toBe(false);
    // At once: the folder is never seen empty.
    expect(await exitOf("sh", "-c", 'umount -l "$1" && mount --bind "$2" "$1"', "_", place.mnt, other)).toBe(0);
    expect(await writing).toBe(0);
    await untilFree([a]);
    expect(await exitOf("umount", place.mnt)).toBe(0);
    await place.h2ts("umount", other);
    await place.succeeds("fsck.h2ts", "-n", "-f", a);
  });

  it("comes back as at a mount when the worker dies, with all that was completed", async () => {
    const a = await frozenVolume();
    await place.h2ts("suspend", "--freeze", place.mnt, "0");
    const writing = writer(`${place.mnt}/waits`, "answered by the next worker");
    expect(await isOver(writing, 1000)).toBe(false);
    await killed((await place.daemon()).workerPid);
    expect(await writing).toBe(0);
    expect(await place.states()).toEqual(["ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", a);
  });

  it("on a server that is away meanwhile: it stays frozen until the server is back", async () => {
    const away = temporaryFolder();
    imageIn(away.path, 64 * MIB, "remote.img");
    const server = await startUndying(away.path, ["file", `${away.path}/remote.img`]);
    try {
      expect(await place.run("mkfs.h2ts", "-q", server.target)).toMatchObject({ code: 0, err: "" });
      await place.h2ts("mount", "-o", "deadline=1000", server.target, place.mnt);
      const work = new Work(place.mnt, 31);
      await work.run(10);
      await place.h2ts("suspend", "--freeze", place.mnt, "0");
      const writing = writer(`${place.mnt}/waits`, "x");
      for (let round = 0; round < 3; round++) {
        server.kill();
        expect(await isOver(writing, 1500)).toBe(false);
      }
      expect(await place.states()).toEqual(["FROZEN"]);
      await place.h2ts("resume", place.mnt, "0");
      expect(await writing).toBe(0);
      work.files.set("waits", Buffer.from("x"));
      await work.run(10);
      await work.verify();
      expect(await place.states()).toEqual(["ONLINE"]);
      await place.h2ts("umount", place.mnt);
      await place.succeeds("fsck.h2ts", "-n", "-f", server.target);
    } finally {
      await server.stop();
      away.dispose();
    }
  });
});

describe.skipIf(mountsImpossible() !== undefined)(
  "a frozen copy on an export of ours whose machine is started anew",
  () => {
    it.each(["unmount", "death of its worker"])(
      "stays frozen until the %s, and says why: another host may have written there (I11)",
      async (end) => {
        const away = temporaryFolder();
        const image = imageIn(away.path, 64 * MIB);
        let server = await startExport(away.path, image);
        try {
          expect(await place.run("mkfs.h2ts", "-q", server.target)).toMatchObject({ code: 0, err: "" });
          await place.h2ts("mount", "-o", "deadline=1000", server.target, place.mnt);
          writeFileSync(`${place.mnt}/before`, "kept");
          await place.h2ts("suspend", "--freeze", place.mnt, "0");
          const writing = writer(`${place.mnt}/waits`, "x");
          expect(await isOver(writing, 500)).toBe(false);
          await server.stop();
          const other = place.mountPoint("other");
          await place.h2ts("mount", image, other);
          writeFileSync(`${other}/by-another`, "host");
          await place.h2ts("umount", other);
          server = await startExport(away.path, image);
          await expect
            .poll(async () => (await place.status()).copies[0]?.nodes[0]?.connection?.state, { timeout: 10_000 })
            .toBe("given-up");
          // Once more, by who has missed the first time: that changes nothing.
          await place.run("h2ts", "suspend", "--freeze", place.mnt, "0");
          const refused = await place.run("h2ts", "resume", place.mnt, "0");
          expect(refused).toMatchObject({ code: 32, out: "" });
          expect(refused.err).toMatch(/was given up: .* stays frozen; unmount and mount again/);
          expect(await isOver(writing, 500)).toBe(false);
          expect(await place.states()).toEqual(["FROZEN"]);
          if (end === "unmount") expect(await exitOf("umount", "-l", place.mnt)).toBe(0);
          // No other one goes on from what that host has written.
          else process.kill((await place.status()).daemon!.workerPid, "SIGKILL");
          expect(await writing).not.toBe(0);
          await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
          await server.stop();
          await expect.poll(() => exitOf("flock", "-n", "-x", image, "true"), { timeout: 10_000 }).toBe(0);
          await place.h2ts("mount", image, place.mnt);
          expect(readdirSync(place.mnt).sort()).toEqual(["before", "by-another"]);
          expect(readFileSync(`${place.mnt}/by-another`, "utf8")).toBe("host");
          await place.h2ts("umount", place.mnt);
          await place.succeeds("fsck.h2ts", "-n", "-f", image);
        } finally {
          await server.stop();
          away.dispose();
        }
      },
    );
  },
);

async function exitOf(...words: [string, ...string[]]): Promise<number | null> {
  const [program, ...rest] = words;
  const [code] = (await once(spawn(program, rest, { stdio: "ignore" }), "exit")) as [number | null];
  return code;
}

describe.skipIf(mountsImpossible() !== undefined)("a node of a row", () => {
  it("is suspended with its copy, whose other nodes stay open, and caught up when it is resumed", async () => {
    const [a, b, c] = [
      imageIn(place.folder, 96 * MIB, "a.img"),
      imageIn(place.folder, 48 * MIB, "b.img"),
      imageIn(place.folder, 64 * MIB, "c.img"),
    ];
    expect(await place.run("mkfs.h2ts", "-q", a, `${b}+${c}`)).toMatchObject({ code: 0, err: "" });
    await place.h2ts("mount", a, `${b}+${c}`, place.mnt);
    const work = new Work(place.mnt, 32);
    await work.run(10);
    work.start();
    expect(await place.run("h2ts", "suspend", place.mnt, "1/2")).toMatchObject({ code: 1 });
    await place.h2ts("suspend", place.mnt, "1/1");
    const report = await place.status();
    expect(report.copies[1]).toMatchObject({ state: "SUSPENDED", note: "node 1/1 is suspended; the others are open" });
    expect(report.copies[1]!.nodes.map(({ held }) => held)).toEqual([undefined, "SUSPENDED"]);
    expect((await place.run("h2ts", "status", "-v", place.mnt)).out).toMatch(/node 1\/1: .*c\.img: .*SUSPENDED\n/);
    // Its lock is gone, that of the other node is not.
    expect(await place.run("h2ts", "status", c)).toMatchObject({ code: 0 });
    expect(await exitOf("flock", "-n", "-x", c, "true")).toBe(0);
    expect(await exitOf("flock", "-n", "-x", b, "true")).toBe(1);
    expect(await place.run("h2ts", "resume", place.mnt, "1/0")).toMatchObject({ code: 32 });
    await work.stop();
    work.start();
    await place.h2ts("resume", place.mnt, "1/1");
    await place.h2ts("wait", "-t", "resync", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await work.stop();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, `${b}+${c}`]);
  });

  it("of the only copy is frozen by itself", async () => {
    const [b, c] = [imageIn(place.folder, 48 * MIB, "b.img"), imageIn(place.folder, 64 * MIB, "c.img")];
    expect(await place.run("mkfs.h2ts", "-q", `${b}+${c}`)).toMatchObject({ code: 0, err: "" });
    await place.h2ts("mount", "-o", "deadline=500", `${b}+${c}`, place.mnt);
    const work = new Work(place.mnt, 33);
    await work.run(10);
    expect(await place.run("h2ts", "suspend", place.mnt, "0/1")).toMatchObject({ code: 32 });
    await place.h2ts("suspend", "--freeze", place.mnt, "0/1");
    expect((await place.status()).copies[0]!.nodes.map(({ held }) => held)).toEqual([undefined, "FROZEN"]);
    const writing = writer(`${place.mnt}/waits`, "x");
    expect(await isOver(writing, 1500)).toBe(false);
    expect(await place.run("h2ts", "resume", place.mnt, "0/0")).toMatchObject({ code: 32 });
    await place.h2ts("resume", place.mnt, "0/1");
    expect(await writing).toBe(0);
    work.files.set("waits", Buffer.from("x"));
    await work.run(10);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", `${b}+${c}`);
  });
});

describe.skipIf(mountsImpossible() !== undefined)("replacing a node of a row", () => {
  it("moves it to another server under work, and the volume never stops", async () => {
    const away = temporaryFolder();
    const a = imageIn(place.folder, 120 * MIB, "a.img");
    const b = imageIn(place.folder, 64 * MIB, "b.img");
    const servers = await Promise.all(
      ["old", "new"].map((name) => {
        imageIn(away.path, 66 * MIB, `${name}.img`);
        return startNbdkit(away.path, ["file", `${away.path}/${name}.img`], name);
      }),
    );
    const [old, fresh] = servers.map(({ target }) => target) as [string, string];
    try {
      expect(await place.run("mkfs.h2ts", "-q", a, `${b}+${old}`)).toMatchObject({ code: 0, err: "" });
      await place.h2ts("mount", "-o", "deadline=20000", a, `${b}+${old}`, place.mnt);
      const work = new Work(place.mnt, 34);
      await work.writeBig(40 * MIB);
      work.start();
      for (const [words, code] of [
        [["1/2", fresh], 1],
        [["--abandon", "1", fresh], 1],
        [["0/0", fresh], 32],
        [["1/1", b], 2],
      ] as const)
        expect(await place.run("h2ts", "replace", place.mnt, ...words)).toMatchObject({ code, out: "" });
      await place.h2ts("replace", "-w", place.mnt, "1/1", fresh);
      expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
      expect((await place.status()).copies[1]!.targets).toEqual([b, fresh]);
      await work.stop();
      work.start();
      // Nothing of the volume is on the old one any more, nor is it held: it may become a node again, of this very row.
      await place.h2ts("replace", "-f", "--abandon", place.mnt, "1/1", old);
      await killed((await place.daemon()).workerPid);
      await place.until(["ONLINE", "ONLINE"]);
      await work.stop();
      work.start();
      expect((await place.status()).copies[1]!.targets).toEqual([b, old]);
      await place.h2ts("replace", "-w", "-f", place.mnt, "1/1", fresh);
      expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
      await work.stop();
      await place.h2ts("umount", place.mnt);
      await place.examine(work, [a, `${b}+${fresh}`]);
      // The row as it was before is none.
      expect(await place.run("h2ts", "mount", `${b}+${old}`, place.mnt)).toMatchObject({ code: 32, out: "" });
    } finally {
      await Promise.all(servers.map((server) => server.stop()));
      away.dispose();
    }
  });
});
