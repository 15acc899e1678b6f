// What `-o metrics=ADDR` serves over HTTP: the report of the volume as figures that Prometheus collects. Made from the report
// at each request, so nothing is counted twice and nothing is kept up to date that nobody asks for.

import { Gauge, Registry } from "prom-client";
import { removeDeadSocket } from "../base/dead-socket.ts";
import type { MetricsAddress } from "./metrics-address.ts";
import type { CopyReport, NodeReport, VolumeReport } from "./volume-report.ts";

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
    metricsOf(report()).then(
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

type Values = readonly (readonly [labels: Record<string, string>, value: number])[];

/** The text of all metrics. */
async function metricsOf(report: VolumeReport): Promise<{ readonly type: string; readonly text: string }> {
  const registry = new Registry();
  const gauge = (name: string, help: string, values: Values): void => {
    const labelNames = Object.keys(values[0]?.[0] ?? {});
    const made = new Gauge({ name: `h2ts_${name}`, help, labelNames, registers: [registry] });
    for (const [labels, value] of values) made.set(labels, value);
  };
  const { volume, copies } = report;
  gauge("volume_online", "1 when every copy is in sync", [[{ uuid: volume.uuid }, Number(report.state === "ONLINE")]]);
  gauge("volume_read_only", "1 when nothing is written", [[{ uuid: volume.uuid }, Number(report.readOnly)]]);
  gauge("volume_size_bytes", "Size of the volume", [[{ uuid: volume.uuid }, volume.sizeBytes]]);
  gauge("volume_free_bytes", "Room for new data", [[{ uuid: volume.uuid }, volume.freeBytes]]);
  gauge("volume_data_errors", "Blocks that no copy had, since the mount", [[{ uuid: volume.uuid }, report.dataErrors]]);
  const ofCopies = (name: string, help: string, value: (copy: CopyReport) => number): void =>
    gauge(
      `copy_${name}`,
      help,
      copies.map((copy) => [{ copy: String(copy.index) }, value(copy)]),
    );
  ofCopies("online", "1 when the copy is in sync", ({ state }) => Number(state === "ONLINE"));
  ofCopies("used_bytes", "Bytes in use on the copy", ({ usedBytes }) => usedBytes);
  ofCopies("missing_bytes", "About how much it lacks", ({ missingBytes = 0 }) => missingBytes);
  ofCopies("repaired_blocks", "Blocks repaired on it", ({ repaired }) => repaired);
  gauge(
    "copy_errors",
    "Errors of the copy by kind",
    copies.flatMap(({ index, errors }) =>
      Object.entries(errors).map(([kind, count]) => [{ copy: String(index), kind }, count] as const),
    ),
  );
  const nodes = copies.flatMap((copy) => copy.nodes.map((node) => ({ copy, node })));
  const remote = nodes.flatMap(({ copy, node }) =>
    node.connection === undefined ? [] : [{ copy, node, connection: node.connection }],
  );
  type Connection = NonNullable<NodeReport["connection"]>;
  const ofRemote = (name: string, help: string, value: (connection: Connection) => number): void =>
    gauge(
      `node_${name}`,
      help,
      remote.map(({ copy, node, connection }) => [{ copy: String(copy.index), node: node.target }, value(connection)]),
    );
  ofRemote("connected", "1 while the node is connected", ({ state }) => Number(state === "connected"));
  ofRemote("connections", "Connections open to the node", ({ connections }) => connections);
  ofRemote("in_flight", "Requests without an answer", ({ inFlight }) => inFlight);
  ofRemote("unflushed_bytes", "Written and not flushed yet", ({ unflushedBytes }) => unflushedBytes);
  ofRemote("resent", "Requests sent again since the node was opened", ({ resent }) => resent);
  ofRemote("reconnects", "Connections that took another's place", ({ reconnects }) => reconnects);
  ofRemote("round_trip_seconds", "Time there and back", ({ roundTripMs }) => roundTripMs / 1000);
  return { type: registry.contentType, text: await registry.metrics() };
}
