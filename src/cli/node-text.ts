// What `h2ts status -v` says of each node of a copy: what it is, where in its row, and how it goes with the way to it.

import { formatByteSize } from "../base/byte-size.ts";
import type { CopyReport, NodeReport } from "../daemon/volume-report.ts";

/** A few lines for each node. */
export function nodeLines({ index, nodes }: CopyReport): string[] {
  return nodes.flatMap((node, position) => {
    const place =
      nodes.length === 1
        ? ""
        : `, ${position + 1} of ${nodes.length} in its row, from ${formatByteSize(node.startBytes)}`;
    const name = nodes.length === 1 ? `copy ${index}` : `node ${index}/${position}`;
    const held = node.held === undefined ? "" : `, ${node.held}`;
    const head = `${name}: ${node.target}: ${node.kind}, ${formatByteSize(node.sizeBytes)}${place}${held}`;
    return [head, ...connectionLines(node)].map((line, i) => `    ${i === 0 ? "" : "  "}${line}`);
  });
}

function connectionLines({ connection }: NodeReport): string[] {
  if (connection === undefined) return [];
  const {
    state,
    address,
    addresses,
    connections,
    roundTripMs,
    inFlight,
    unflushedBytes,
    resent,
    reconnects,
    lastError,
  } = connection;
  const others = addresses.filter((other) => other !== address);
  const also = others.length === 0 ? "" : `, or by ${others.join(", ")}`;
  const several = connections > 1 ? ` ${connections} times` : "";
  const lines = [
    `${state}${several}, by ${address}${also}; round trip ${roundTripMs.toFixed(2)} ms`,
    `${inFlight} requests in flight, ${formatByteSize(unflushedBytes)} unflushed, ${resent} sent again, ${reconnects} reconnects`,
  ];
  if (lastError !== undefined) lines.push(`last error: ${lastError}`);
  return lines;
}
