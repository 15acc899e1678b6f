// npm run bench: h2ts with two copies beside other filesystems, on the same disk, in the same run, in turns.
// All files lie in one temporary folder; it is removed and everything started is ended, however the bench ends.

import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseByteSize } from "../src/base/byte-size.ts";
import { CACHE_DEFAULT_BYTES } from "../src/daemon/mount-options.ts";
import { Cleanup } from "./cleanup.ts";
import { idleCpu } from "./memory.ts";
import { type Options, parseOptions } from "./options.ts";
import { Btrfs } from "./peers/btrfs.ts";
import { NullC, NullTransport } from "./peers/floor.ts";
import { Fuse2fs } from "./peers/fuse2fs.ts";
import { H2ts } from "./peers/h2ts.ts";
import type { Peer } from "./peers/peer.ts";
import { ZfsFuse } from "./peers/zfs-fuse.ts";
import { asJson, asText } from "./report.ts";
import { measure } from "./rounds.ts";
import { random, sequential } from "./scenarios/data.ts";
import { fsync, sqlite } from "./scenarios/durable.ts";
import { makeTar, smallFiles, untar } from "./scenarios/files.ts";
import { missingNames, warmStat } from "./scenarios/latency.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { judge } from "./targets.ts";

const PEERS = ["h2ts", "btrfs", "zfs-fuse", "fuse2fs", "null", "c-null"];
/** Room for the largest file four times over. */
const IMAGE_MIB_MIN = 2048;

function scenariosFor(tar: string): Scenario[] {
  return [missingNames, warmStat, sequential, random, smallFiles, untar(tar), fsync, sqlite];
}

function peersIn(parent: string, { amounts, mountOptions }: Options): Peer[] {
  const imageMib = Math.max(IMAGE_MIB_MIN, 4 * amounts.sequentialMib);
  const imageBytes = imageMib * 1024 * 1024;
  const folders = (name: string): [home: string, directory: string] => {
    const folders: [string, string] = [join(parent, name), join(parent, name, "mnt")];
    mkdirSync(folders[1], { recursive: true });
    return folders;
  };
  return [
    new H2ts(...folders("h2ts"), `${imageMib}M`, mountOptions),
    new Btrfs(...folders("btrfs"), imageBytes),
    new ZfsFuse(...folders("zfs-fuse"), imageBytes),
    new Fuse2fs(...folders("fuse2fs"), imageBytes),
    new NullTransport(folders("null")[1]),
    new NullC(...folders("c-null")),
  ];
}

function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
}

async function bench(options: Options, cleanup: Cleanup): Promise<string> {
  const parent = await mkdtemp(join(options.parent, "h2ts-bench-"));
  cleanup.add(() => rm(parent, { recursive: true, force: true }));
  const tar = join(parent, "tree.tar");
  const wanted = scenariosFor(tar).filter(({ name, rows, missing }) => {
    const named =
      options.only.length === 0 || [name, ...rows.map((row) => row.name)].some((n) => options.only.includes(n));
    return named && missing?.() === undefined;
  });
  if (wanted.some(({ name }) => name === "untar")) await makeTar(tar, options.amounts);
  const absent = new Map<string, string>();
  const peers: Peer[] = [];
  for (const peer of peersIn(parent, options)) {
    if (options.peers.length > 0 && !options.peers.includes(peer.name)) continue;
    if (peer.isFloor && !wanted.some((scenario) => scenario.onFloors)) continue;
    const reason = await peer.missing();
    if (reason !== undefined) {
      absent.set(peer.name, reason);
      continue;
    }
    progress(`making ${peer.name}`);
    cleanup.add(() => peer.abandon());
    await peer.create();
    peers.push(peer);
  }
  const { amounts, runs } = options;
  const { results, memory } = await measure({ scenarios: wanted, peers, amounts, runs, onProgress: progress });
  progress("watching the idle daemons");
  const idle = await idleCpu(peers.filter(({ name, isFloor }) => name !== "btrfs" && !isFloor));
  progress("");
  const cacheText = /(?:^|,)cache=([^,]+)/.exec(options.mountOptions)?.[1];
  const cacheBytes = (cacheText === undefined ? undefined : parseByteSize(cacheText)) ?? CACHE_DEFAULT_BYTES;
  const evidence = { scenarios: wanted, results, memory, idle, cacheBytes };
  const report = { ...evidence, peers, absent, targets: judge(evidence) };
  return options.json ? asJson(report) : asText(report);
}

async function main(): Promise<number> {
  const argv = process.argv.slice(2);
  const scenarios = scenariosFor("");
  const rows = scenarios.flatMap(({ name, rows }) => [name, ...rows.map((row) => row.name)]);
  const options = parseOptions(argv, [...new Set(rows)], PEERS);
  if (process.geteuid?.() !== 0) throw new Error("the bench mounts filesystems and empties caches: run it as root");
  // What is pinned passes it on to everything it starts.
  if (options.pin && process.env["H2TS_BENCH_PINNED"] === undefined) {
    const words = ["-c", "0", process.execPath, ...process.argv.slice(1)];
    const { status } = spawnSync("taskset", words, {
      stdio: "inherit",
      env: { ...process.env, H2TS_BENCH_PINNED: "1" },
    });
    return status ?? 1;
  }
  const cleanup = new Cleanup();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => void cleanup.run().then(() => process.exit(130)));
  }
  try {
    console.log(await bench(options, cleanup));
    return 0;
  } finally {
    await cleanup.run();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
