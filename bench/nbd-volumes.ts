// What a remote copy costs a volume: two local copies beside one local and one behind an export on this machine, over a unix
// socket and over TCP, in turns. Ratios are those within a round; their median counts.

import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Amounts } from "./amounts.ts";
import { dropCaches } from "./kernel-caches.ts";
import { detach } from "./peers/peer.ts";
import { run, Server } from "./process.ts";
import { H2TS, h2ts, mkfs, script } from "./programs.ts";
import { median } from "./results.ts";

const DATA_MIB = 512;
const IMAGE_SIZE = "2G";
const PORT = 20_809;
const ROWS = ["write", "cold read"] as const;

interface Kind {
  readonly name: string;
  /** Where the second copy is, given its image and the socket of its server. */
  readonly second: (image: string, socket: string) => string;
}

const LOCAL: Kind = { name: "two local copies", second: (image) => image };
const KINDS: readonly Kind[] = [
  LOCAL,
  { name: "one behind a unix socket", second: (_, socket) => `nbd+unix:///x?socket=${socket}` },
  { name: "one behind TCP", second: () => `nbd://127.0.0.1:${PORT}/x` },
];

/** Mebibytes a second, in the order of ROWS. */
async function measure(kind: Kind, home: string): Promise<number[]> {
  const directory = join(home, "mount");
  const [first, image, socket] = ["a.img", "b.img", "socket"].map((name) => join(home, name)) as [
    string,
    string,
    string,
  ];
  await mkdir(directory, { recursive: true });
  const second = kind.second(image, socket);
  let server: Server | undefined;
  try {
    await run("truncate", ["-s", IMAGE_SIZE, first, image]);
    if (kind !== LOCAL) {
      const listen = ["--listen", `unix:${socket}`, "--listen", `127.0.0.1:${PORT}`];
      server = new Server(process.execPath, [H2TS, "export", ...listen, `x=${image}`]);
      await server.until(() => existsSync(socket));
    }
    await mkfs(first, second);
    await h2ts("mount", first, second, directory);
    const amounts = { sequentialMib: DATA_MIB } as Amounts;
    const task = async (name: string): Promise<Record<string, number>> => {
      const { stdout } = await run(process.execPath, [
        script("bench/client.js"),
        name,
        directory,
        JSON.stringify(amounts),
      ]);
      return JSON.parse(stdout) as Record<string, number>;
    };
    const { write = 0 } = await task("sequentialWrite");
    await h2ts("umount", directory);
    dropCaches();
    await h2ts("mount", first, second, directory);
    const { read = 0 } = await task("sequentialRead");
    await h2ts("umount", directory);
    return [write, read];
  } finally {
    await detach(directory);
    await server?.stop();
    for (const path of [first, image, socket]) await rm(path, { force: true });
  }
}

/** Prints a line for each row. */
export async function measureVolumes(home: string, rounds: number): Promise<void> {
  const rates: number[][][] = [];
  for (let round = 0; round < rounds; round++) {
    const turns = KINDS.map((_, i) => (i + round) % KINDS.length);
    const found: number[][] = [];
    for (const i of turns) found[i] = await measure(KINDS[i] as Kind, home);
    rates.push(found);
  }
  console.log(`a volume, ${DATA_MIB} MiB in one file; in brackets: times two local copies`);
  ROWS.forEach((name, row) => {
    const cells = KINDS.map((kind, i) => {
      const rate = median(rates.map((found) => found[i]?.[row] ?? 0)) ?? 0;
      const ratio = median(rates.map((found) => (found[i]?.[row] ?? 0) / (found[0]?.[row] ?? 1))) ?? 0;
      return `${kind.name} ${Math.round(rate)} MiB/s${i === 0 ? "" : ` (${ratio.toFixed(2)})`}`;
    });
    console.log(`  ${name.padEnd(18)}${cells.join("   ")}`);
  });
}
