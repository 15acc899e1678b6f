// The rounds: in each, every scenario is done on every peer in turn, and the turns begin with another peer each time.

import type { Amounts } from "./amounts.ts";
import type { MemoryWatch } from "./memory.ts";
import type { Peer } from "./peers/peer.ts";
import { Place } from "./place.ts";
import type { Results } from "./results.ts";
import type { Scenario } from "./scenarios/scenario.ts";

/** Tries at a scenario in which somebody else, such as a test running beside, empties the kernel's caches. */
const TRIES_MAX = 3;

export interface Rounds {
  readonly scenarios: readonly Scenario[];
  readonly peers: readonly Peer[];
  readonly amounts: Amounts;
  readonly runs: number;
  /** Told what is being done. */
  readonly onProgress: (line: string) => void;
}

/** Measures everything on peers that are mounted. A scenario that fails on a peer is noted and left out there. */
export async function measure(rounds: Rounds, results: Results, memory: MemoryWatch): Promise<void> {
  const { scenarios, peers, amounts, runs, onProgress } = rounds;
  for (let run = 0; run < runs; run++) {
    const first = run % peers.length;
    const turns = [...peers.slice(first), ...peers.slice(0, first)];
    for (const scenario of scenarios) {
      memory.scenario = scenario.name;
      for (const peer of turns) {
        if (peer.isFloor && scenario.onFloors !== true) continue;
        onProgress(`run ${run + 1} of ${runs}: ${scenario.name} on ${peer.name}`);
        await turn(scenario, peer, run);
      }
    }
  }

  async function turn(scenario: Scenario, peer: Peer, run: number): Promise<void> {
    for (let tries = 1; (await attempt(scenario, peer, run)) === "disturbed"; tries++) {
      if (tries < TRIES_MAX) continue;
      results.notes.push(
        `run ${run + 1}, ${scenario.name} on ${peer.name}: another program emptied the kernel's caches`,
      );
      return;
    }
  }

  async function attempt(scenario: Scenario, peer: Peer, run: number): Promise<"done" | "disturbed"> {
    const place = new Place(peer, amounts, memory);
    let outcome: "done" | "disturbed" = "done";
    try {
      await place.begin();
      const figures = await scenario.run(place);
      if (place.isDisturbed) outcome = "disturbed";
      for (const { name } of scenario.rows) results.add(name, peer.name, run, figures[name]);
    } catch (error) {
      results.notes.push(`run ${run + 1}, ${scenario.name} on ${peer.name} failed: ${(error as Error).message}`);
    }
    await place.end().catch((error: unknown) => {
      results.notes.push(`after ${scenario.name} on ${peer.name}: ${(error as Error).message}`);
    });
    return outcome;
  }
}
