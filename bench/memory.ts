// What the processes of a peer hold in memory and spend in CPU time.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Peer } from "./peers/peer.ts";

const IDLE_SECONDS = 5;
/** The last commit and its timers are over by then. */
const SETTLE_SECONDS = 7;
/** A daemon that did nothing for so long after a mount is done with what it does of its own accord then. */
const REST_MS = 2000;
const REST_TRIES_MAX = 10;
const REST_CPU_SECONDS_MAX = 0.03;
/** USER_HZ, the unit of /proc/PID/stat on every Linux. */
const TICKS_PER_SECOND = 100;

/** Pages of a process in memory: its own, and those of files (its program above all), which others may share. */
function resident(pid: number): { readonly ownKib: number; readonly fileKib: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (field: string): number => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
  return { ownKib: kib("RssAnon") + kib("RssShmem"), fileKib: kib("RssFile") };
}

/** What processes hold together. Pages of files are the same ones in all processes of a program: those of the one with most count. */
function residentBytes(pids: readonly number[]): number {
  const all = pids.map(resident);
  const ownKib = all.reduce((sum, { ownKib }) => sum + ownKib, 0);
  return (ownKib + Math.max(...all.map(({ fileKib }) => fileKib))) * 1024;
}

function cpuSeconds(pid: number): number {
  // The name in parentheses may contain anything; user and system time are fields 14 and 15.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Remembers the greatest sum seen of what a peer's processes hold, by peer and scenario. */
export class MemoryWatch {
  readonly #bytes = new Map<string, Map<string, number>>();
  scenario = "";

  async note(peer: Peer): Promise<void> {
    const pids = await peer.pids();
    if (pids.length === 0) return;
    const byPeer = this.#bytes.get(this.scenario) ?? new Map<string, number>();
    this.#bytes.set(this.scenario, byPeer);
    byPeer.set(peer.name, Math.max(residentBytes(pids), byPeer.get(peer.name) ?? 0));
  }

  bytes(scenario: string, peer: string): number | undefined {
    return this.#bytes.get(scenario)?.get(peer);
  }
}

/**
 * CPU time per second of each peer's processes while nobody asks anything of them. A peer whose processes are gone is told of
 * through `onGone` and left out.
 */
export async function idleCpu(peers: readonly Peer[], onGone: (peer: Peer) => void): Promise<Map<string, number>> {
  await sleep(SETTLE_SECONDS * 1000);
  const before = await Promise.all(peers.map(cpuSecondsOf));
  await sleep(IDLE_SECONDS * 1000);
  const after = await Promise.all(peers.map(cpuSecondsOf));
  const idle = new Map<string, number>();
  for (const [i, peer] of peers.entries()) {
    const [from, to] = [before[i], after[i]];
    if (from === undefined || to === undefined) onGone(peer);
    else idle.set(peer.name, (to - from) / IDLE_SECONDS);
  }
  return idle;
}

/** Waits, within bounds, until the processes of a peer have nothing to do, so that it is not in the way of what is measured next. */
export async function untilAtRest(peer: Peer): Promise<void> {
  let before = await cpuSecondsOf(peer);
  for (let tries = 0; tries < REST_TRIES_MAX && before !== undefined && before > 0; tries++) {
    await sleep(REST_MS);
    const after = await cpuSecondsOf(peer);
    if (after === undefined || after - before <= REST_CPU_SECONDS_MAX) return;
    before = after;
  }
}

async function cpuSecondsOf(peer: Peer): Promise<number | undefined> {
  try {
    return (await peer.pids()).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  } catch {
    return undefined;
  }
}
