// One run of the bench from making the peers to the report.

import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseByteSize } from "../src/base/byte-size.ts";
import { CACHE_BYTES_DEFAULT } from "../src/volume/defaults.ts";
import type { Cleanup } from "./cleanup.ts";
import { MemoryWatch, idleCpu, untilAtRest } from "./memory.ts";
import type { Options } from "./options.ts";
import { Btrfs } from "./peers/btrfs.ts";
import { NullC, NullTransport } from "./peers/floor.ts";
import { Fuse2fs } from "./peers/fuse2fs.ts";
import { H2ts } from "./peers/h2ts.ts";
import type { Peer } from "./peers/peer.ts";
import { ZfsFuse } from "./peers/zfs-fuse.ts";
import { asJson, asText } from "./report.ts";
import { Results } from "./results.ts";
import { measure } from "./rounds.ts";
import { random, sequential } from "./scenarios/data.ts";
import { fsync, randomFsync, sqlite } from "./scenarios/durable.ts";
import { makeTar, smallFiles, untar } from "./scenarios/files.ts";
import { missingNames, warmStat } from "./scenarios/latency.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { judge } from "./targets.ts";

export const PEERS = ["h2ts", "btrfs", "zfs-fuse", "fuse2fs", "null", "c-null"];
/** Room for the largest file four times over. */
const IMAGE_MIB_MIN = 2048;

export function scenariosFor(tar: string): Scenario[] {
  return [missingNames, warmStat, sequential, random, smallFiles, untar(tar), fsync, randomFsync, sqlite];
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

/** `report` may be asked for at any time, also when it was interrupted. */
export class Bench {
  readonly #options: Options;
  readonly #cleanup: Cleanup;
  readonly #peers: Peer[] = [];
  readonly #absent = new Map<string, string>();
  readonly #results = new Results();
  readonly #memory = new MemoryWatch();
  #scenarios: readonly Scenario[] = [];
  #idle: ReadonlyMap<string, number> = new Map();

  constructor(options: Options, cleanup: Cleanup) {
    this.#options = options;
    this.#cleanup = cleanup;
  }

  async run(): Promise<void> {
    const { amounts, runs } = this.#options;
    const parent = await mkdtemp(join(this.#options.parent, "h2ts-bench-"));
    this.#cleanup.add(() => rm(parent, { recursive: true, force: true }));
    const tar = join(parent, "tree.tar");
    this.#scenarios = scenariosFor(tar).filter((scenario) => this.#isWanted(scenario));
    if (this.#scenarios.some(({ name }) => name === "untar")) await makeTar(tar, amounts);
    await this.#createPeers(parent);
    const [scenarios, peers] = [this.#scenarios, this.#peers];
    await measure({ scenarios, peers, amounts, runs, onProgress: progress }, this.#results, this.#memory);
    progress("watching the idle daemons");
    const served = peers.filter(({ name, isFloor }) => name !== "btrfs" && !isFloor);
    this.#idle = await idleCpu(served, ({ name }) => this.#results.notes.push(`${name}: its process is gone`));
    progress("");
  }

  #isWanted({ name, rows, missing }: Scenario): boolean {
    const { only } = this.#options;
    if (missing?.() !== undefined) return false;
    return only.length === 0 || [name, ...rows.map((row) => row.name)].some((known) => only.includes(known));
  }

  async #createPeers(parent: string): Promise<void> {
    for (const peer of peersIn(parent, this.#options)) {
      if (this.#options.peers.length > 0 && !this.#options.peers.includes(peer.name)) continue;
      if (peer.isFloor && !this.#scenarios.some((scenario) => scenario.onFloors)) continue;
      const reason = await peer.missing();
      if (reason !== undefined) {
        this.#absent.set(peer.name, reason);
        continue;
      }
      progress(`making ${peer.name}`);
      this.#cleanup.add(() => peer.abandon());
      await peer.create();
      await untilAtRest(peer);
      this.#peers.push(peer);
    }
  }

  report(): string {
    const cacheText = /(?:^|,)cache=([^,]+)/.exec(this.#options.mountOptions)?.[1];
    const cacheBytes = (cacheText === undefined ? undefined : parseByteSize(cacheText)) ?? CACHE_BYTES_DEFAULT;
    const measured = { results: this.#results, memory: this.#memory, idle: this.#idle };
    const evidence = { scenarios: this.#scenarios, ...measured, cacheBytes };
    const report = { ...evidence, peers: this.#peers, absent: this.#absent, targets: judge(evidence) };
    return this.#options.json ? asJson(report) : asText(report);
  }
}
