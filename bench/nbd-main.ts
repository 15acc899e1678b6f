// npm run bench:nbd: requests of 64 KiB at a depth of 16 over a unix socket, against our export and the servers of others that
// are installed, all on the same file and with the same client (qemu-img bench), in turns; the best of its rounds counts for each.

import { existsSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { missingProgram } from "./peers/peer.ts";
import { run, Server } from "./process.ts";

const H2TS = fileURLToPath(new URL("../src/cli.js", import.meta.url));
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
  readonly words: readonly string[];
}

const ROWS: readonly Row[] = [
  { name: "write, in order", words: ["-w"] },
  { name: "read, in order", words: [] },
  // Each request lies far from the one before, so that no two can be made one.
  { name: "write, spread", words: ["-w", "-S", String(REQUEST_BYTES * 1_001)] },
  { name: "read, spread", words: ["-S", String(REQUEST_BYTES * 1_001)] },
];

/** Gigabytes a second for each row. */
async function measure(contender: Contender, folder: string): Promise<number[]> {
  const image = join(folder, "image");
  const socket = join(folder, "socket");
  await rm(socket, { force: true });
  const server = new Server(contender.program, contender.words(image, socket));
  try {
    await server.until(() => existsSync(socket));
    const rates: number[] = [];
    for (const { words } of ROWS) {
      const common = ["bench", "-f", "raw", "-t", "none", "-d", String(DEPTH), "-s", String(REQUEST_BYTES)];
      const uri = `nbd+unix:///x?socket=${socket}`;
      const { stdout } = await run("qemu-img", [...common, "-c", String(REQUESTS), ...words, uri]);
      const seconds = Number(/completed in ([\d.]+) seconds/.exec(stdout)?.[1]);
      rates.push((REQUESTS * REQUEST_BYTES) / seconds / 1e9);
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
  const best = contenders.map(() => ROWS.map(() => 0));
  try {
    writeFileSync(join(folder, "image"), "");
    truncateSync(join(folder, "image"), IMAGE_BYTES);
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, contender] of contenders.entries()) {
        const rates = await measure(contender, folder);
        best[i] = rates.map((rate, row) => Math.max(rate, best[i]?.[row] ?? 0));
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  console.log(`${REQUEST_BYTES / 1024} KiB, ${DEPTH} at a time, GB/s; in brackets: times h2ts`);
  ROWS.forEach(({ name }, row) => {
    const ours = best[0]?.[row] ?? 0;
    const cells = contenders.map((contender, i) => {
      const rate = best[i]?.[row] ?? 0;
      return `${contender.name} ${rate.toFixed(2)}${i === 0 ? "" : ` (${(rate / ours).toFixed(2)})`}`;
    });
    console.log(`  ${name.padEnd(18)}${cells.join("   ")}`);
  });
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
