// Lets calls through to the nodes of one copy, and holds those for a node that is frozen (h2ts suspend --freeze) until it is
// thawed. It knows which nodes a call touches and how many calls are under way on each; a node is still when none is.

import type { RowNode } from "../device/row.ts";

interface Gated {
  readonly startBytes: number;
  readonly endBytes: number;
  inFlight: number;
  isFrozen: boolean;
}

interface Held {
  readonly nodes: readonly Gated[];
  readonly issue: () => void;
}

interface Waiting {
  readonly nodes: readonly Gated[];
  readonly wake: () => void;
}

export class NodeGate {
  readonly #nodes: readonly Gated[];
  #held: readonly Held[] = [];
  #waiting: readonly Waiting[] = [];
  #servingSinceMs = 0;
  /** Calls that have ended well. */
  answered = 0;

  constructor(nodes: readonly RowNode[]) {
    this.#nodes = nodes.map(({ device, startBytes }) => ({
      startBytes,
      endBytes: startBytes + device.sizeBytes,
      inFlight: 0,
      isFrozen: false,
    }));
  }

  /** Calls under way on nodes; one that is held is not. */
  get inFlight(): number {
    return this.#nodes.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** Positions of the frozen nodes. */
  get frozen(): readonly number[] {
    return this.#nodes.flatMap(({ isFrozen }, position) => (isFrozen ? [position] : []));
  }

  /** Monotonic time since which calls are answered; infinite while any node is frozen. */
  get servingSinceMs(): number {
    return this.#servingSinceMs;
  }

  /** True when a call on this range would be held. */
  holds(offsetBytes: number, lengthBytes: number): boolean {
    return this.#servingSinceMs === Infinity && this.#touched(offsetBytes, lengthBytes).some(isFrozen);
  }

  /** Makes a call on this range, at once or when the nodes that it touches are thawed. */
  run(offsetBytes: number, lengthBytes: number, call: () => Promise<void>): Promise<void> {
    const nodes = this.#touched(offsetBytes, lengthBytes);
    if (!nodes.some(isFrozen)) return this.#issue(nodes, call);
    return new Promise((resolve, reject) => {
      const issue = (): void => void this.#issue(nodes, call).then(resolve, reject);
      this.#held = [...this.#held, { nodes, issue }];
    });
  }

  #issue(nodes: readonly Gated[], call: () => Promise<void>): Promise<void> {
    for (const node of nodes) node.inFlight++;
    const over = (): void => {
      for (const node of nodes) node.inFlight--;
      if (this.#waiting.length === 0) return;
      const [awake, asleep] = parted(this.#waiting, (one) => one.nodes.every(isStill));
      this.#waiting = asleep;
      for (const { wake } of awake) wake();
    };
    const done = call();
    done.then(() => {
      this.answered++;
      over();
    }, over);
    return done;
  }

  /** Resolves when nothing is under way on these nodes, on none unless some are named. */
  async still(positions?: readonly number[]): Promise<void> {
    const nodes = this.#named(positions);
    if (nodes.every(isStill)) return;
    await new Promise<void>((wake) => (this.#waiting = [...this.#waiting, { nodes, wake }]));
  }

  /** Holds whatever comes for these nodes from now on. */
  freeze(positions: readonly number[]): void {
    for (const node of this.#named(positions)) node.isFrozen = true;
    this.#servingSinceMs = Infinity;
  }

  /** What was held for these nodes, or for all, and for no other that is frozen, is issued now, in the order it came. */
  thaw(nowMs: number, positions?: readonly number[]): void {
    for (const node of this.#named(positions)) node.isFrozen = false;
    if (this.#servingSinceMs === Infinity && !this.#nodes.some(isFrozen)) this.#servingSinceMs = nowMs;
    const [free, held] = parted(this.#held, ({ nodes }) => !nodes.some(isFrozen));
    this.#held = held;
    for (const { issue } of free) issue();
  }

  #named(positions: readonly number[] | undefined): readonly Gated[] {
    return positions === undefined ? this.#nodes : this.#nodes.filter((_, position) => positions.includes(position));
  }

  #touched(offsetBytes: number, lengthBytes: number): readonly Gated[] {
    // Most copies are one node: every call touches that.
    if (this.#nodes.length === 1) return this.#nodes;
    return this.#nodes.filter((node) => offsetBytes < node.endBytes && offsetBytes + lengthBytes > node.startBytes);
  }
}

const isFrozen = (node: Gated): boolean => node.isFrozen;
const isStill = (node: Gated): boolean => node.inFlight === 0;

function parted<T>(all: readonly T[], isFirst: (one: T) => boolean): [first: readonly T[], rest: readonly T[]] {
  return [all.filter(isFirst), all.filter((one) => !isFirst(one))];
}
