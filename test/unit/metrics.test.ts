// Metrics: named as Prometheus wants them, the list in the document, what is served, and where after a worker was killed.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { METRICS } from "../../src/daemon/metric-list.ts";
import { serveMetrics } from "../../src/daemon/metrics.ts";
import { metricsTable } from "../../src/daemon/metrics-table.ts";
import { VolumeReport } from "../../src/daemon/volume-report.ts";
import { scrape } from "../mount/scrape.ts";

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

describe("metrics", () => {
  it("are named as Prometheus wants it, each once", () => {
    for (const { name, type, help } of METRICS) {
      expect(name).toMatch(/^h2ts_[a-z]+(_[a-z]+)+$/);
      expect(name.endsWith("_total"), name).toBe(type === "counter");
      expect(name).not.toMatch(/_(ms|millis|kib|kb)(_|$)/);
      expect(help, name).not.toBe("");
    }
    expect(new Set(METRICS.map(({ name }) => name)).size).toBe(METRICS.length);
  });

  it("are in docs/operation.md as they are", () => {
    expect(readFileSync(join(import.meta.dirname, "../../docs/operation.md"), "utf8")).toContain(metricsTable());
  });
});

/** A volume of two copies: one here, being caught up, one on a server. */
const DEGRADED = VolumeReport.parse({
  state: "DEGRADED",
  readOnly: false,
  volume: {
    uuid: "e1c1",
    label: 'of "mine"',
    checkType: "xxh64",
    sizeBytes: 1000,
    usedBytes: 300,
    freeBytes: 700,
    inodes: 12,
  },
  copies: [
    {
      index: 0,
      uuid: "a0",
      state: "SYNCING",
      role: "copy",
      targets: ["/a.img"],
      nodes: [{ target: "/a.img", kind: "file", startBytes: 0, sizeBytes: 1000 }],
      sizeBytes: 1000,
      usedBytes: 100,
      errors: { read: 1, write: 2, checksum: 3 },
      repaired: 4,
      missingBytes: 200,
    },
    {
      index: 3,
      uuid: "a3",
      state: "ONLINE",
      role: "master",
      targets: ["nbd://there/b"],
      nodes: [
        {
          target: "nbd://there/b",
          kind: "remote",
          startBytes: 0,
          sizeBytes: 1000,
          connection: {
            state: "connected",
            address: "192.0.2.1",
            addresses: ["192.0.2.1"],
            connections: 2,
            inFlight: 5,
            unflushedBytes: 6,
            resent: 7,
            reconnects: 8,
            roundTripMs: 9,
          },
        },
      ],
      sizeBytes: 1000,
      usedBytes: 300,
      errors: { read: 0, write: 0, checksum: 0 },
      repaired: 0,
    },
  ],
  scans: [{ activity: "resync", copy: 0, state: "running", doneBytes: 40, leftBytes: 200, seconds: 2 }],
  dataErrors: 1,
});

it("metrics that can't be had are an error of that request, and nothing else", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-metrics-"));
  const socketPath = join(folder, "socket");
  const server = await serveMetrics({ path: socketPath }, report);
  try {
    for (let again = 0; again < 2; again++) await expect(scrape({ socketPath })).rejects.toThrow(/HTTP 500/);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
});

it("metrics are served with their types, units and labels, and nothing of what there is not", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-metrics-"));
  const socketPath = join(folder, "socket");
  const server = await serveMetrics({ path: socketPath }, () => DEGRADED);
  try {
    const lines = (await scrape({ socketPath })).split("\n");
    expect(lines).toEqual(
      expect.arrayContaining([
        "# TYPE h2ts_copy_errors_total counter",
        'h2ts_copy_errors_total{copy="0",kind="checksum"} 3',
        'h2ts_copy_repaired_blocks_total{copy="0"} 4',
        "# HELP h2ts_copy_missing_bytes About how much the copy lacks",
        "# TYPE h2ts_copy_missing_bytes gauge",
        'h2ts_copy_missing_bytes{copy="0"} 200',
        'h2ts_copy_missing_bytes{copy="3"} 0',
        'h2ts_copy_state{copy="0",state="SYNCING"} 1',
        'h2ts_copy_state{copy="0",state="ONLINE"} 0',
        'h2ts_volume_info{uuid="e1c1",label="of \\"mine\\"",check="xxh64"} 1',
        "h2ts_volume_online 0",
        "h2ts_volume_lost_blocks 1",
        "# TYPE h2ts_node_resent_requests_total counter",
        'h2ts_node_resent_requests_total{copy="3",node="0",target="nbd://there/b"} 7',
        'h2ts_node_round_trip_seconds{copy="3",node="0",target="nbd://there/b"} 0.009',
        'h2ts_resync_running{copy="0"} 1',
        'h2ts_resync_brought_bytes_total{copy="0"} 40',
      ]),
    );
    // Not even a zero: there was no scrub, and copy 0 has no remote node.
    expect(lines.filter((line) => /scrub|node_.*copy="0"/.test(line))).toEqual([]);
    const typed = lines.filter((line) => line.startsWith("# TYPE "));
    expect(typed).toHaveLength(METRICS.length - METRICS.filter(({ name }) => name.startsWith("h2ts_scrub_")).length);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
});
