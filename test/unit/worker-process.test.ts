// A worker as its supervisor sees it: one that leaves, and one that can't be started.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DaemonLog } from "../../src/daemon/daemon-log.ts";
import { WorkerProcess } from "../../src/daemon/worker-process.ts";

let folder: string;
let program: string;
const log = DaemonLog.inMemory(() => new Date());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-worker-"));
  program = join(folder, "program.mjs");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("a worker that can't be started is no reason not to start another, and leaves nothing open", async () => {
  const before = readdirSync("/proc/self/fd").length;
  // The system refuses words this long, and Node throws that.
  expect(() => new WorkerProcess(program, "x".repeat(200_000), log)).toThrow(/E2BIG/);
  const node = process.execPath;
  process.execPath = join(folder, "none");
  try {
    const worker = new WorkerProcess(program, "none", log);
    const ending = {
      error: expect.stringMatching(/can't be started: .*ENOENT/) as unknown,
      goesOn: true,
      killed: false,
    };
    expect(await worker.ended).toEqual(ending);
  } finally {
    process.execPath = node;
  }
  await expect.poll(() => readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
});

it("a question that is open when the worker leaves is answered by that another one took over", async () => {
  writeFileSync(
    program,
    `process.on("message", ({ type }) => type === "leave" && process.send({ type: "left" }, () => process.exit(0)));\n`,
  );
  const worker = new WorkerProcess(program, "none", log);
  const answer = worker.ask({ type: "sync" });
  worker.leave();
  expect(await answer).toEqual({ error: "another worker took over meanwhile; ask again" });
  expect(await worker.ended).toEqual({ error: undefined, goesOn: true, killed: false });
});

it("the last word of a worker counts, even if its process does not end, and it is not asked again", async () => {
  writeFileSync(program, `process.send({ type: "ended" }); setInterval(() => undefined, 1000);\n`);
  const worker = new WorkerProcess(program, "none", log);
  try {
    expect(await worker.ended).toEqual({ error: undefined, goesOn: false, killed: false, unmounted: true });
    expect(worker.isGone).toBe(true);
    expect(await worker.ask({ type: "status" })).toEqual({ error: "the worker is gone" });
  } finally {
    await worker.kill();
  }
});
