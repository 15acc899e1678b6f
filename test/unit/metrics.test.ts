// Where metrics are served after a worker was killed.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { serveMetrics } from "../../src/daemon/metrics.ts";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";

const report = (): VolumeReport => {
  throw new Error("nobody asks");
};

it("a socket that a killed process left behind is taken over, one that is in use is not", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-metrics-"));
  const path = join(folder, "socket");
  try {
    const program = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", program]);
    expect(existsSync(path)).toBe(true);
    const first = await serveMetrics({ path }, report);
    await expect(serveMetrics({ path }, report)).rejects.toMatchObject({ code: "EADDRINUSE" });
    await first.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("a file that is no socket keeps its place", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-metrics-"));
  const path = join(folder, "notes");
  try {
    writeFileSync(path, "kept");
    await expect(serveMetrics({ path }, report)).rejects.toMatchObject({ code: "EADDRINUSE" });
    expect(readFileSync(path, "utf8")).toBe("kept");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
