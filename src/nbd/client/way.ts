// What a link asks of the way to its export, and what it is told when it is made.

import type { Clock } from "../../base/clock.ts";
import type { NodeObserver } from "./events.ts";
import type { RemotePolicy } from "./policy.ts";
import type { OpenExport } from "./terms.ts";

/** An export opened by one of its addresses. */
export interface Reached {
  readonly opened: OpenExport;
  readonly address: string;
}

export interface Way {
  /** Opens the export by the best address that works, each tried for so long at most; rejects with why none does. */
  reach(attemptMs: number): Promise<Reached>;
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
