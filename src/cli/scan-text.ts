// The scan line of `h2ts status`: what goes on in the background, how far and how fast, in the manner of zpool status.

import { formatByteSize } from "../base/byte-size.ts";
import type { ScanReport } from "../daemon/volume-report.ts";

const STATES: Readonly<Record<ScanReport["state"], string>> = {
  running: "under way",
  paused: "paused",
  complete: "complete",
  cancelled: "cancelled",
  "no-room": "stopped, no room",
  unreadable: "stopped, blocks it lacks can't be read",
  stopped: "stopped",
  failed: "failed",
};

/** "resync of copy 1 under way: 22% done, 340M of 1.50G, 56M/s, 0:21 to go" */
export function scanText(scan: ScanReport): string {
  const name = scan.copy === undefined ? scan.activity : `${scan.activity} of copy ${scan.copy}`;
  if (scan.state === "complete") return `${name} complete${endOf(scan)}`;
  const { doneBytes, leftBytes } = scan;
  const totalBytes = doneBytes + leftBytes;
  const percent = totalBytes === 0 ? 100 : Math.floor((100 * doneBytes) / totalBytes);
  const done = `${percent}% done, ${formatByteSize(doneBytes)} of ${formatByteSize(totalBytes)}`;
  return `${name} ${STATES[scan.state]}: ${done}${rateOf(scan)}${foundBy(scan)}${nextOf(scan)}`;
}

function endOf(scan: ScanReport): string {
  const { activity, doneBytes, finishedSec } = scan;
  if (activity === "resync") return `: ${formatByteSize(doneBytes)} brought`;
  const when = finishedSec === undefined ? "" : ` on ${new Date(finishedSec * 1000).toISOString().slice(0, 19)}Z`;
  return `${when}: ${formatByteSize(doneBytes)} read${foundBy(scan) || ", no bad blocks"}`;
}

function rateOf({ state, doneBytes, leftBytes, seconds, sinceMountBytes = doneBytes }: ScanReport): string {
  if (state !== "running" || sinceMountBytes === 0) return "";
  const bytesPerSecond = sinceMountBytes / Math.max(seconds, 0.001);
  const left = Math.round(leftBytes / bytesPerSecond);
  const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  return `, ${formatByteSize(Math.round(bytesPerSecond))}/s, ${clock} to go`;
}

/** What a scrub found; nothing while all is well. */
function foundBy({ errors = 0, repaired = 0, lost = 0 }: ScanReport): string {
  if (errors === 0 && lost === 0) return "";
  const bad = `, ${errors} bad ${errors === 1 ? "block" : "blocks"}, ${repaired} repaired`;
  return lost === 0 ? bad : `${bad}, ${lost} lost on every copy`;
}

function nextOf({ activity, state }: ScanReport): string {
  if (activity !== "scrub") return "";
  if (state === "paused") return "; h2ts scrub --resume goes on with it";
  return state === "stopped" || state === "failed" ? "; it goes on at the next mount" : "";
}
