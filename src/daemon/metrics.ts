// What `-o metrics=ADDR` serves over HTTP: the report of the volume as figures (metric-list.ts) that Prometheus collects. Made
// from the report at each request, so nothing is counted twice and nothing is kept up to date that nobody asks for.

import { Counter, Gauge, Registry } from "prom-client";
import { removeDeadSocket } from "../base/dead-socket.ts";
import { METRICS } from "./metric-list.ts";
import type { MetricsAddress } from "./metrics-address.ts";
import type { VolumeReport } from "./volume-report.ts";

export interface MetricsServer {
  /** Resolves when nothing is served any more. */
  close(): Promise<void>;
}

/** Serves `/metrics`. Rejects with the system's error when the address can't be had. */
export async function serveMetrics(address: MetricsAddress, report: () => VolumeReport): Promise<MetricsServer> {
  const { createServer } = await import("node:http");
  // A worker before us may have been killed.
  if ("path" in address) await removeDeadSocket(address.path);
  const server = createServer((request, response) => {
    if (request.url !== "/metrics" || request.method !== "GET") return void response.writeHead(404).end();
    metricsOf(report).then(
      ({ type, text }) => response.writeHead(200, { "content-type": type }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  // A mount does not live on for somebody who collects figures.
  server.unref();
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(address, () => {
      server.off("error", reject).on("error", () => undefined);
      resolve({
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

/** The text of all metrics that there are. Rejects with what `report` throws. */
async function metricsOf(report: () => VolumeReport): Promise<{ readonly type: string; readonly text: string }> {
  const registry = new Registry();
  const now = report();
  for (const { name, type, labels: labelNames, help, samples } of METRICS) {
    const present = samples(now);
    // One without labels would be 0 where nothing is said of it.
    if (present.length === 0) continue;
    const declared = { name, help, labelNames, registers: [registry] };
    if (type === "counter") {
      const counter = new Counter(declared);
      for (const { labels, value } of present) counter.inc(labels, value);
    } else {
      const gauge = new Gauge(declared);
      for (const { labels, value } of present) gauge.set(labels, value);
    }
  }
  return { type: registry.contentType, text: await registry.metrics() };
}
