// npm run bench:resync: what catching a copy up costs beside bringing everything to a new one, on volumes of two sizes. Bytes are
// those the worker asked the system to read and write (rchar and wchar of /proc/PID/io) while nobody used the mount.

import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Content } from "./content.ts";
import { detach, isMounted } from "./peers/peer.ts";
import { daemonOf, h2ts, mkfs } from "./programs.ts";

const MIB = 1024 * 1024;
const FILE_MIB = 16;
const BLOCK_BYTES = 65_536;
const CHANGED_PER_CENT = 1;
const SIZES_MIB = [256, 1024];

interface Cost {
  readonly seconds: number;
  readonly readMib: number;
  readonly writtenMib: number;
}

function bytesOf(pid: number): { read: number; written: number } {
  const text = readFileSync(`/proc/${pid}/io`, "latin1");
  const count = (name: string): number => Number(new RegExp(`^${name}: (\\d+)`, "m").exec(text)?.[1]);
  return { read: count("rchar"), written: count("wchar") };
}

/** Does `start` and waits until every copy is in sync. */
async function costOf(directory: string, start: () => Promise<unknown>): Promise<Cost> {
  const pid = (await daemonOf(directory)).workerPid;
  const before = bytesOf(pid);
  const beganMs = performance.now();
  await start();
  await h2ts("wait", "-t", "resync", directory);
  const seconds = (performance.now() - beganMs) / 1000;
  const after = bytesOf(pid);
  return { seconds, readMib: (after.read - before.read) / MIB, writtenMib: (after.written - before.written) / MIB };
}

function fill(directory: string, dataMib: number, content: Content): void {
  for (let file = 0; file < dataMib / FILE_MIB; file++) {
    const fd = openSync(join(directory, `f${file}`), "w");
    for (let i = 0; i < FILE_MIB; i++) writeSync(fd, content.bytes(MIB));
    fsyncSync(fd);
    closeSync(fd);
  }
}

/** Overwrites whole blocks all over the data; gives how many MiB. */
function change(directory: string, dataMib: number, content: Content): number {
  const blocks = new Set<number>();
  const total = (dataMib * MIB) / BLOCK_BYTES;
  while (blocks.size < (total * CHANGED_PER_CENT) / 100) blocks.add(content.below(total));
  const perFile = (FILE_MIB * MIB) / BLOCK_BYTES;
  for (const block of blocks) {
    const fd = openSync(join(directory, `f${Math.floor(block / perFile)}`), "r+");
    writeSync(fd, content.bytes(BLOCK_BYTES), 0, BLOCK_BYTES, (block % perFile) * BLOCK_BYTES);
    closeSync(fd);
  }
  return (blocks.size * BLOCK_BYTES) / MIB;
}

async function measure(home: string, dataMib: number): Promise<void> {
  const directory = join(home, "mount");
  const image = (name: string): string => join(home, `${name}.img`);
  const imageSize = `${dataMib * 2}M`;
  const content = new Content();
  await mkdir(directory, { recursive: true });
  try {
    await mkfs("-s", imageSize, image("a"), image("b"));
    await h2ts("mount", "-o", "cache=256M", image("a"), image("b"), directory);
    fill(directory, dataMib, content);
    await h2ts("offline", directory, "1");
    const changedMib = change(directory, dataMib, content);
    await h2ts("sync", directory);
    const part = await costOf(directory, () => h2ts("online", directory, "1"));
    const full = await costOf(directory, () => h2ts("attach", "-s", imageSize, directory, image("c")));
    await h2ts("umount", directory);
    const line = (name: string, cost: Cost, ofMib: number): string =>
      `  ${name.padEnd(22)}${cost.seconds.toFixed(2).padStart(8)} s` +
      `${cost.readMib.toFixed(1).padStart(9)} MiB read (${(cost.readMib / ofMib).toFixed(2)})` +
      `${cost.writtenMib.toFixed(1).padStart(9)} MiB written (${(cost.writtenMib / ofMib).toFixed(2)})`;
    console.log(`${dataMib} MiB of data; in brackets: times what had to be brought`);
    console.log(line(`${changedMib.toFixed(1)} MiB changed`, part, changedMib));
    console.log(line("a new copy", full, dataMib));
    console.log(`  catching up took ${((part.seconds / full.seconds) * 100).toFixed(1)} % of the time of a new copy`);
  } finally {
    if (isMounted(directory)) await h2ts("umount", directory).catch(() => detach(directory));
    await rm(home, { recursive: true, force: true });
  }
}

for (const dataMib of SIZES_MIB) await measure(await mkdtemp(join(tmpdir(), "h2ts-resync-")), dataMib);
