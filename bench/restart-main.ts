// npm run bench:restart: how long programs wait when the worker of a big volume is killed just after much was written. A client in
// a process of its own asks and writes all the time; the longest of its calls around each kill is the pause.
// What came since the last commit is carried out again; one begins whenever that fills a quarter of the journal.

import { type ChildProcess, fork } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Content } from "./content.ts";
import { detach, isMounted } from "./peers/peer.ts";
import { daemonOf, h2ts, mkfs, script } from "./programs.ts";

const MIB = 1024 * 1024;
const VOLUME_SIZE = "10G";
const BIG_FILES = 96;
const BIG_FILE_MIB = 16;
const SMALL_FILES = 20_000;
const SMALL_FILES_PER_FOLDER = 500;
/** Written just before each kill: whole blocks, which records name, and small files, which they hold. */
const WRITTEN_MIB = 64;
const WRITTEN_SMALL = 1200;
const KILLS = 7;
const PAUSE_MS_MAX = 500;

function writeBig(path: string, mib: number, content: Content): void {
  const fd = openSync(path, "w");
  for (let i = 0; i < mib; i++) writeSync(fd, content.bytes(MIB));
  fsyncSync(fd);
  closeSync(fd);
}

function writeSmall(directory: string, count: number, content: Content): void {
  for (let i = 0; i < count; i++) {
    const folder = join(directory, `folder-${Math.floor(i / SMALL_FILES_PER_FOLDER)}`);
    if (i % SMALL_FILES_PER_FOLDER === 0) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `file-${i}`), content.bytes(4096));
  }
}

function longestSince(client: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    client.once("message", resolve as (message: unknown) => void);
    client.send("report");
  });
}

/** Writes, kills the worker, and waits until another one serves; the longest wait in ms. */
async function pauseOf(directory: string, kill: number, client: ChildProcess, content: Content): Promise<number> {
  await h2ts("sync", directory);
  writeBig(join(directory, `written-${kill % 2}`), WRITTEN_MIB, content);
  writeSmall(join(directory, `small-${kill}`), WRITTEN_SMALL, content);
  const { workerPid, restarts } = await daemonOf(directory);
  await longestSince(client);
  process.kill(workerPid, "SIGKILL");
  await sleep(1500);
  const pauseMs = await longestSince(client);
  if ((await daemonOf(directory)).restarts !== restarts + 1) throw new Error("no other worker took over");
  return pauseMs;
}

async function measure(home: string): Promise<void> {
  const directory = join(home, "mount");
  const images = ["a", "b"].map((name) => join(home, `${name}.img`));
  const content = new Content();
  await mkdir(directory);
  try {
    await mkfs("-s", VOLUME_SIZE, ...images);
    // No commit by time: only what was written makes one begin.
    await h2ts("mount", "-o", "cache=256M,commit=300", ...images, directory);
    for (let i = 0; i < BIG_FILES; i++) writeBig(join(directory, `big-${i}`), BIG_FILE_MIB, content);
    writeSmall(join(directory, "small"), SMALL_FILES, content);
    await h2ts("sync", directory);
    const client = fork(script("bench/restart-client.js"), [directory], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const pauses: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) pauses.push(await pauseOf(directory, kill, client, content));
    client.send("stop");
    await new Promise((resolve) => client.once("close", resolve));
    await h2ts("umount", directory);
    const sorted = pauses.toSorted((a, b) => a - b);
    const medianMs = sorted[Math.floor(sorted.length / 2)] as number;
    const data = `${(BIG_FILES * BIG_FILE_MIB) / 1024} GiB and ${SMALL_FILES} small files on ${VOLUME_SIZE}`;
    console.log(`${data}; ${WRITTEN_MIB} MiB and ${WRITTEN_SMALL} small files written before each kill`);
    console.log(`pause of ${KILLS} kills, ms: ${sorted.map((ms) => ms.toFixed(0)).join(", ")}`);
    console.log(
      `median ${medianMs.toFixed(0)} ms: ${medianMs < PAUSE_MS_MAX ? "met" : "missed"} (below ${PAUSE_MS_MAX} ms)`,
    );
  } finally {
    if (isMounted(directory)) await h2ts("umount", directory).catch(() => detach(directory));
    await rm(home, { recursive: true, force: true });
  }
}

await measure(await mkdtemp(join(tmpdir(), "h2ts-restart-")));
