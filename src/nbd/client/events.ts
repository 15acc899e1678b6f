// What happens to a remote node, typed: nothing of it goes by silently. Whoever opens nodes passes an observer in; the daemon
// writes each event to its log and shows the last trouble in the status.

export type NodeEvent =
  /** The first connection. */
  | { readonly kind: "connected"; readonly address: string; readonly roundTripMs: number }
  | { readonly kind: "lost"; readonly address: string; readonly reason: string }
  /** The node is back: `requests` had no answer and were sent again, and so were `keptWrites` that no flush covered. */
  | {
      readonly kind: "reconnected";
      readonly address: string;
      readonly awayMs: number;
      readonly requests: number;
      readonly keptWrites: number;
    }
  /** Others were made beside a new connection, or could not be; `trouble`: why there are fewer than wanted. */
  | {
      readonly kind: "widened";
      readonly address: string;
      readonly connections: number;
      readonly wanted: number;
      readonly trouble: string | undefined;
    }
  | { readonly kind: "route-changed"; readonly from: string; readonly to: string; readonly reason: string }
  /** Every request fails from now on; only opening the node anew helps. */
  | { readonly kind: "gave-up"; readonly reason: string };

export interface ObservedNode {
  /** What the operator called it. */
  readonly node: string;
  readonly event: NodeEvent;
}

export type NodeObserver = (observed: ObservedNode) => void;

/** One line for the log. */
export function describeEvent({ node, event }: ObservedNode): string {
  switch (event.kind) {
    case "connected":
      return `${node}: connected to ${event.address} (round trip ${event.roundTripMs.toFixed(1)} ms)`;
    case "lost":
      return `${node}: connection to ${event.address} lost: ${event.reason}`;
    case "reconnected": {
      const again = `${event.requests} requests and ${event.keptWrites} unflushed writes sent again`;
      return `${node}: back at ${event.address} after ${Math.round(event.awayMs)} ms; ${again}`;
    }
    case "widened": {
      const { address, connections, wanted, trouble } = event;
      if (trouble === undefined) return `${node}: ${connections} connections to ${address}`;
      return `${node}: goes on with ${connections} of ${wanted} connections to ${address}: ${trouble}`;
    }
    case "route-changed":
      return `${node}: goes by ${event.to} now, not ${event.from}: ${event.reason}`;
    case "gave-up":
      return `${node}: given up: ${event.reason}`;
  }
}
