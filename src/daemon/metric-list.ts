// The figures that `-o metrics=ADDR` serves, each declared once; docs/operation.md holds the same list, and a test holds the two
// together. Named as Prometheus wants it: what only rises is a counter and ends in _total, a unit is in the name. A counter may begin
// anew, as a node's does when it is opened again.

import { CopyState, type VolumeReport } from "./volume-report.ts";

type Labels = Readonly<Record<string, string>>;
type MetricType = "counter" | "gauge";

export interface Metric {
  readonly name: string;
  readonly type: MetricType;
  readonly labels: readonly string[];
  readonly help: string;
  /** What there is of it now; nothing where there is no such thing. */
  readonly samples: (report: VolumeReport) => readonly { readonly labels: Labels; readonly value: number }[];
}

/** Declares metrics of one kind of things: how their names begin, and the things that a report has of it, by their labels. */
function of<Label extends string, Thing>(
  kind: string,
  labels: readonly Label[],
  things: (report: VolumeReport) => readonly (readonly [Readonly<Record<Label, string>>, Thing])[],
) {
  return (type: MetricType, name: string, help: string, valueOf: (thing: Thing) => number | undefined): Metric => ({
    name: `h2ts_${kind}_${name}`,
    type,
    labels,
    help,
    samples: (report) =>
      things(report).flatMap(([values, thing]) => {
        const value = valueOf(thing);
        return value === undefined ? [] : [{ labels: values, value }];
      }),
  });
}

const volume = of("volume", [], (report) => [[{}, report]]);
const volumeIdentity = of("volume", ["uuid", "label", "check"], ({ volume: { uuid, label, checkType } }) => [
  [{ uuid, label, check: checkType }, 1],
]);
const copy = of("copy", ["copy"], ({ copies }) => copies.map((each) => [{ copy: `${each.index}` }, each]));
const copyIdentity = of("copy", ["copy", "uuid"], ({ copies }) =>
  copies.map(({ index, uuid }) => [{ copy: `${index}`, uuid }, 1]),
);
const copyState = of("copy", ["copy", "state"], ({ copies }) =>
  copies.flatMap(({ index, state }) =>
    CopyState.options.map((each) => [{ copy: `${index}`, state: each }, Number(each === state)] as const),
  ),
);
const copyErrors = of("copy", ["copy", "kind"], ({ copies }) =>
  copies.flatMap(({ index, errors }) =>
    Object.entries(errors).map(([kind, count]) => [{ copy: `${index}`, kind }, count] as const),
  ),
);
const remoteNode = of("node", ["copy", "node", "target"], ({ copies }) =>
  copies.flatMap(({ index, nodes }) =>
    nodes.flatMap(({ target, connection }, position) =>
      connection === undefined ? [] : [[{ copy: `${index}`, node: `${position}`, target }, connection] as const],
    ),
  ),
);
const resync = of("resync", ["copy"], ({ scans }) =>
  scans.flatMap((scan) => (scan.activity === "resync" ? [[{ copy: `${scan.copy}` }, scan] as const] : [])),
);
const scrub = of("scrub", [], ({ scans }) =>
  scans.flatMap((scan) => (scan.activity === "scrub" ? [[{}, scan] as const] : [])),
);

const itself = (value: number): number => value;

export const METRICS: readonly Metric[] = [
  volumeIdentity("gauge", "info", "1; its labels say which volume it is", itself),
  volume("gauge", "online", "1 when every copy is in sync and writes do not fail", ({ state }) =>
    Number(state === "ONLINE"),
  ),
  volume("gauge", "read_only", "1 when nothing is written", ({ readOnly }) => Number(readOnly)),
  volume("gauge", "size_bytes", "Size of the volume", (report) => report.volume.sizeBytes),
  volume("gauge", "used_bytes", "Bytes in use, on the copy with most", (report) => report.volume.usedBytes),
  volume("gauge", "free_bytes", "Room for new data", (report) => report.volume.freeBytes),
  volume("gauge", "inodes", "Files, directories and all other inodes", (report) => report.volume.inodes),
  volume(
    "gauge",
    "lost_blocks",
    "Blocks met since the mount, or h2ts clear, that no copy has",
    ({ dataErrors }) => dataErrors,
  ),

  copyIdentity("gauge", "info", "1; its labels say which copy it is", itself),
  copyState("gauge", "state", "1 for the state that the copy is in, 0 for all others", itself),
  copy("gauge", "size_bytes", "Size of the copy", ({ sizeBytes }) => sizeBytes),
  copy("gauge", "used_bytes", "Bytes in use on the copy", ({ usedBytes }) => usedBytes),
  copy("gauge", "missing_bytes", "About how much the copy lacks", ({ missingBytes = 0 }) => missingBytes),
  copyErrors("counter", "errors_total", "Errors of the copy since mkfs or h2ts clear: read, write, checksum", itself),
  copy("counter", "repaired_blocks_total", "Blocks repaired on the copy since then", ({ repaired }) => repaired),
  copy("gauge", "stuck_calls", "Calls given up that its devices have not ended", ({ callsStuck = 0 }) => callsStuck),

  remoteNode("gauge", "connected", "1 while the node is connected", ({ state }) => Number(state === "connected")),
  remoteNode("gauge", "connections", "Connections open to the node", ({ connections }) => connections),
  remoteNode("gauge", "requests_in_flight", "Requests to the node without an answer", ({ inFlight }) => inFlight),
  remoteNode("gauge", "unflushed_bytes", "Written to the node and not flushed yet", (node) => node.unflushedBytes),
  remoteNode("counter", "resent_requests_total", "Requests to the node that were sent again", (node) => node.resent),
  remoteNode(
    "counter",
    "reconnects_total",
    "Connections to the node that took another's place",
    (node) => node.reconnects,
  ),
  remoteNode("gauge", "round_trip_seconds", "Time to the node and back", ({ roundTripMs }) => roundTripMs / 1000),

  resync("gauge", "running", "1 while the copy is being caught up", ({ state }) => Number(state === "running")),
  resync(
    "counter",
    "brought_bytes_total",
    "Bytes that catching it up brought to the copy",
    ({ doneBytes }) => doneBytes,
  ),
  scrub("gauge", "running", "1 while a scrub reads", ({ state }) => Number(state === "running")),
  scrub(
    "counter",
    "read_bytes_total",
    "Bytes read by the scrub under way, or the last one",
    ({ doneBytes }) => doneBytes,
  ),
  scrub("gauge", "left_bytes", "About how much the scrub has still to read", ({ leftBytes }) => leftBytes),
  scrub("gauge", "bad_blocks", "Bad blocks that the scrub found, each copy counted by itself", ({ errors }) => errors),
  scrub("gauge", "lost_blocks", "Blocks that the scrub found good on no copy", ({ lost }) => lost),
  scrub(
    "gauge",
    "finished_timestamp_seconds",
    "When the scrub was complete; nothing while it is not",
    ({ finishedSec }) => finishedSec,
  ),
];
