// A worker as its supervisor sees it: one that leaves, one that can't be started, and one of another version, which says what can't be
// read and is told what it can't read itself.

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { DaemonLog } from "../../src/daemon/daemon-log.ts";
import { unreadableOrder } from "../../src/daemon/unreadable.ts";
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

it("an order that a worker can't read is answered where somebody waits, and said to be no good in one line", () => {
  const instead = (message: unknown): unknown => unreadableOrder(message)?.instead;
  expect(unreadableOrder({ type: "leave", later: 1 })).toBeUndefined();
  const error = expect.stringMatching(
    /^the supervisor's order "later" makes no sense to this version: type: [^\n]+$/,
  ) as unknown;
  expect(instead({ type: "later", id: 9 })).toEqual({ type: "answer", id: 9, error });
  expect(instead({ type: "start", takeOver: true })).toMatchObject({
    type: "failed",
    message: expect.stringMatching(/"start" makes no sense to this version: request: [^\n]+$/) as unknown,
  });
  // Its id is that of a notice, not of a question.
  for (const message of [{ type: "noticed", id: 9 }, { type: "later" }, { type: 7 }, "later", null])
    expect(unreadableOrder(message)).toEqual({
      line: expect.stringMatching(/makes no sense/) as unknown,
      instead: undefined,
    });
});

it("a report that can't be read is waited for no longer, and only where it is needed a reason to do without the worker", async () => {
  writeFileSync(
    program,
    `process.send({ type: "targets", targets: [] });
process.send({ type: "later" });
process.on("message", ({ id }) => process.send(id ? { type: "answer", id, error: 7 } : { type: "opened", warnings: [] }));
`,
  );
  const worker = new WorkerProcess(program, "none", log);
  try {
    const answer = await worker.ask({ type: "sync" });
    expect(answer.error).toMatch(/^the worker's report "answer" makes no sense to this version: error: [^\n]+$/);
    expect(worker.isGone).toBe(false);
    const opened = worker.reach("opened");
    worker.serve();
    await expect(opened).rejects.toThrow(/"opened" makes no sense to this version: volumeUuid: /);
    expect(await worker.ended).toMatchObject({ error: expect.stringMatching(/volumeUuid/) as unknown, goesOn: false });
    expect(log.recent().filter((line) => /"(targets|later)" makes no sense/.test(line))).toHaveLength(2);
  } finally {
    await worker.kill();
  }
});
