// What a link asks of the way to its export, and what it is told when it is made.

import type { Clock } from "../../base/clock.ts";
import type { NodeObserver } from "./events.ts";
import type { RemotePolicy } from "./policy.ts";
import type { OpenExport } from "./terms.ts";

/** An export opened by one of its addresses. */
export interface Reached {
  readonly opened: OpenExport;
  readonly address: string;
  /** Opens the export once more, with the very server that this leads to. `slot`: which of our connections it is (LeaseContext). */
  readonly another: (slot: number, attemptMs: number) => Promise<OpenExport>;
}

export interface Way {
  /** Opens the export by the best address that works, each tried for so long at most; rejects with why none does. */
  reach(attemptMs: number): Promise<Reached>;
  /** All there are, the first of equals first. */
  readonly addresses: readonly string[];
  /** This one led to something else than the node. */
  blame(address: string): void;
  /** Whether a server answers there at all, within so long. */
  answers(address: string, limitMs: number): Promise<boolean>;
  /** Looks out for one that is better than the one in use, until the way is asked for again; tells once. */
  watch(address: string, onBetter: (address: string) => void): void;
  /** Ends whatever is under way. */
  close(): void;
}

export interface LinkOptions {
  /** What the operator calls the node. */
  readonly name: string;
  readonly clock: Clock;
  readonly policy: RemotePolicy;
  readonly observer: NodeObserver;
  readonly writable: boolean;
}
