// npm run bench: h2ts with two copies beside other filesystems, on the same disk, in the same run, in turns.
// All files lie in one temporary folder; it is removed and everything started is ended, however the bench ends.

import { Bench, PEERS, scenariosFor } from "./bench.ts";
import { Cleanup } from "./cleanup.ts";
import { parseOptions } from "./options.ts";
import { run } from "./process.ts";

async function main(): Promise<number> {
  const argv = process.argv.slice(2);
  const scenarios = scenariosFor("");
  const rows = scenarios.flatMap(({ name, rows }) => [name, ...rows.map((row) => row.name)]);
  const options = parseOptions(argv, [...new Set(rows)], PEERS);
  if (process.geteuid?.() !== 0) throw new Error("the bench mounts filesystems and empties caches: run it as root");
  // Whatever is started from here on inherits it.
  if (options.pin) await run("taskset", ["--all-tasks", "--cpu-list", "--pid", "0", String(process.pid)]);
  const cleanup = new Cleanup();
  const bench = new Bench(options, cleanup);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      console.log(bench.report());
      void cleanup.run().then(() => process.exit(130));
    });
  }
  try {
    await bench.run();
    return 0;
  } finally {
    // After a failure too: what was measured until then took its time.
    console.log(bench.report());
    await cleanup.run();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exitCode = 1;
}
