// npm run bench:nbd: requests of 64 KiB at a depth of 16 over a unix socket, against our export and the servers of others that
// are installed, all on the same file, with one client of others (qemu-img bench) and with our own, in turns; the best of its
// rounds counts for each. Then what a remote copy costs a volume, as root.

import { existsSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { measureVolumes } from "./nbd-volumes.ts";
import { missingProgram } from "./peers/peer.ts";
import { run, Server } from "./process.ts";
import { H2TS, script } from "./programs.ts";

const OWN_CLIENT = script("bench/nbd-client.js");
/** As the worker of a mount is started. */
const OWN_FLAGS = ["--max-semi-space-size=4", "--no-parallel-scavenge"];
const IMAGE_BYTES = 1024 * 1024 * 1024;
const REQUEST_BYTES = 65_536;
const REQUESTS = 32_768;
const DEPTH = 16;
const ROUNDS = 3;

interface Contender {
  readonly name: string;
  readonly program: string;
  readonly words: (image: string, socket: string) => readonly string[];
}

const CONTENDERS: readonly Contender[] = [
  {
    name: "h2ts export",
    program: process.execPath,
    words: (image, socket) => [H2TS, "export", "--listen", `unix:${socket}`, `x=${image}`],
  },
  { name: "nbdkit file", program: "nbdkit", words: (image, socket) => ["-f", "-U", socket, "file", image] },
  {
    name: "qemu-nbd",
    program: "qemu-nbd",
    words: (image, socket) => ["-f", "raw", "-k", socket, "-x", "x", "-t", "--cache=writeback", image],
  },
];

interface Row {
  readonly name: string;
  readonly mode: "write" | "read";
  /** Requests that lie between two that follow one another. */
  readonly step: number;
}

/** Spread: each request lies far from the one before, so that no two can be made one. */
const ROWS: readonly Row[] = [
  { name: "write, in order", mode: "write", step: 1 },
  { name: "read, in order", mode: "read", step: 1 },
  { name: "write, spread", mode: "write", step: 1001 },
  { name: "read, spread", mode: "read", step: 1001 },
];

/** Who asks; gives the seconds it took. */
interface Client {
  readonly name: string;
  readonly ask: (uri: string, row: Row) => Promise<number>;
}

const CLIENTS: readonly Client[] = [
  {
    name: "qemu-img",
    ask: async (uri, { mode, step }) => {
      const common = ["bench", "-f", "raw", "-t", "none", "-d", String(DEPTH), "-s", String(REQUEST_BYTES)];
      const words = [...(mode === "write" ? ["-w"] : []), ...(step === 1 ? [] : ["-S", String(REQUEST_BYTES * step)])];
      const { stdout } = await run("qemu-img", [...common, "-c", String(REQUESTS), ...words, uri]);
      return Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1]);
    },
  },
  {
    name: "our client",
    ask: async (uri, { mode, step }) => {
      const words = [OWN_CLIENT, uri, mode, ...[REQUESTS, REQUEST_BYTES, DEPTH, step].map(String)];
      return Number((await run(process.execPath, [...OWN_FLAGS, ...words])).stdout);
    },
  },
];

/** Gigabytes a second for each client and row. */
async function measure(contender: Contender, folder: string): Promise<number[][]> {
  const image = join(folder, "image");
  const socket = join(folder, "socket");
  await rm(socket, { force: true });
  const server = new Server(contender.program, contender.words(image, socket));
  try {
    await server.until(() => existsSync(socket));
    const rates: number[][] = [];
    for (const { ask } of CLIENTS) {
      const seconds: number[] = [];
      for (const row of ROWS) seconds.push(await ask(`nbd+unix:///x?socket=${socket}`, row));
      rates.push(seconds.map((each) => (REQUESTS * REQUEST_BYTES) / each / 1e9));
    }
    return rates;
  } finally {
    await server.stop();
  }
}

async function main(): Promise<void> {
  const missing = missingProgram("qemu-img");
  if (missing !== undefined) throw new Error(`${missing} (Debian package qemu-utils)`);
  const contenders = CONTENDERS.filter(
    ({ program }) => program === process.execPath || missingProgram(program) === undefined,
  );
  const folder = await mkdtemp(join(tmpdir(), "h2ts-nbd-"));
  const best = contenders.map(() => CLIENTS.map(() => ROWS.map(() => 0)));
  try {
    writeFileSync(join(folder, "image"), "");
    truncateSync(join(folder, "image"), IMAGE_BYTES);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, contender] of contenders.entries()) {
        const rates = await measure(contender, folder);
        best[i] = rates.map((rows, c) => rows.map((rate, row) => Math.max(rate, best[i]?.[c]?.[row] ?? 0)));
      }
    }
    await rm(join(folder, "image"));
    report(contenders, best);
    if (process.getuid?.() === 0) await measureVolumes(folder, ROUNDS);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function report(contenders: readonly Contender[], best: readonly number[][][]): void {
  console.log(`${REQUEST_BYTES / 1024} KiB, ${DEPTH} at a time, GB/s; in brackets: times h2ts`);
  CLIENTS.forEach((client, c) => {
    console.log(`asked by ${client.name}`);
    ROWS.forEach(({ name }, row) => {
      const ours = best[0]?.[c]?.[row] ?? 0;
      const cells = contenders.map((contender, i) => {
        const rate = best[i]?.[c]?.[row] ?? 0;
        return `${contender.name} ${rate.toFixed(2)}${i === 0 ? "" : ` (${(rate / ours).toFixed(2)})`}`;
      });
      console.log(`  ${name.padEnd(18)}${cells.join("   ")}`);
    });
  });
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
