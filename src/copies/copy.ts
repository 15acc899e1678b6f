// One copy of the volume at hand: its device, its size, where it stands, and what went wrong on it.
// Invariants: I2 (a write or flush that failed is never taken back: the copy refuses every later one), I1 (`flushedTid`
// says up to which transaction its pointers are kept promises), I9 (nobody waits for a copy that was given up as stalled).
// A node of it may be frozen: calls on that are held, and neither fail nor are late, until it is thawed or the copy fails.

import { settle } from "../base/settle.ts";
import { messageOf } from "../base/thrown.ts";
import { totalBytes } from "../base/total-bytes.ts";
import type { Uuid } from "../base/uuid.ts";
import { type BlockDevice, DeviceError, type DeviceOperation } from "../device/device.ts";
import { Range } from "../device/range.ts";
import { type RowNode, rowNodes } from "../device/row.ts";
import { BLOCK_MAX_KIB, KIB, RING_AREA_KIB } from "../format/geometry.ts";
import type { CopyCounters } from "../format/copy-counters.ts";
import { NodeGate } from "./node-gate.ts";

/**
 * in-sync: holds everything acknowledged that it is meant to hold. syncing: writes go to it, the rest is being brought.
 * faulted: dropped after an error. offline: taken out by the operator. The others are at hand but not taken back yet (I6):
 * stale: an earlier state of this volume; unknown: its state can't be told; blank: it holds no root; divergent: it went
 * another way. leaving: detached, its pointers are being cleared.
 */
export type Standing =
  | "in-sync"
  | "syncing"
  | "faulted"
  | "offline"
  | "stale"
  | "unknown"
  | "blank"
  | "divergent"
  | "leaving";

export class Copy {
  readonly index: number;
  readonly uuid: Uuid;
  readonly device: BlockDevice;
  readonly sizeKib: number;
  /** The nodes, as the operator named them. */
  readonly targets: readonly string[];
  readonly errors = { read: 0, write: 0, checksum: 0 };
  repaired = 0;
  standing: Standing = "in-sync";
  /** Why it is not in sync, for people. */
  reason: string | undefined;
  /** Everything of this transaction and those before was flushed here; undefined before it is in use. */
  flushedTid: number | undefined;
  /** What its pointers name must be checked before it counts as kept (I6). */
  untrusted = false;
  /** An allocation found no room while it was being caught up. */
  noRoom = false;
  /** It is being brought back over the devices it has: nobody lets go of them meanwhile. */
  returning = false;
  /** Its devices are closed, or will be as soon as the last call on them is over. */
  released = false;
  /** Position of the one node whose device is let go of, of a copy taken out that holds on to the others. */
  suspendedNode: number | undefined;
  /** Position of a node that holds nothing yet: pointers into its range are not promises. */
  lostNode: number | undefined;
  /** Devices whose places were taken, left as they are until the copy is complete. */
  replacedNodes: readonly BlockDevice[] = [];
  /** Reads that are overdue and still under way: while there are any, others are asked first (I9). */
  overdueReads = 0;
  /** How long its reads took lately, smoothed. */
  readMs = 0;
  #writableUntilMs = Infinity;
  #limitsDevices = true;
  #failure: DeviceError | undefined;
  #stalled = false;
  #restored = false;
  /** Called once, when it fails. */
  onFailed: () => void = () => undefined;
  readonly nodeUuids: readonly Uuid[];
  /** In the order of the row. */
  readonly nodes: readonly RowNode[];
  readonly #gate: NodeGate;
  /** Those that wait for a write or flush; woken when the copy is given up as stalled. */
  readonly #waiting = new Set<() => void>();

  /** `nodeUuids`: of its nodes, where those are known. */
  constructor(
    index: number,
    uuid: Uuid,
    device: BlockDevice,
    targets: readonly string[],
    nodeUuids: readonly Uuid[] = [],
  ) {
    this.index = index;
    this.uuid = uuid;
    this.device = device;
    this.sizeKib = Math.floor(device.sizeBytes / KIB);
    this.targets = targets;
    this.nodeUuids = nodeUuids;
    this.nodes = rowNodes(device);
    this.#gate = new NodeGate(this.nodes);
  }

  get name(): string {
    return this.targets.join("+");
  }

  /** How far away its farthest node is, in milliseconds there and back; 0 on this machine. */
  get distanceMs(): number {
    return this.device.distanceMs ?? 0;
  }

  get bit(): number {
    return 1 << this.index;
  }

  /** Monotonic time after which nothing may be written here: half a lease after the last heartbeat (I11). */
  get writableUntilMs(): number {
    return this.#writableUntilMs;
  }

  set writableUntilMs(untilMs: number) {
    this.#writableUntilMs = untilMs;
    if (this.#limitsDevices) this.device.writeUntil?.(untilMs);
  }

  /** It is out of use: its heartbeat holds up no other copy on its devices from now on. */
  leaveLimit(): void {
    for (const { device } of this.nodes) {
      if (!(device instanceof Range) || !device.isShared) continue;
      this.#limitsDevices = false;
      device.leaveLimit();
    }
  }

  /** New blocks and roots are written to it. */
  get active(): boolean {
    return this.standing === "in-sync" || this.standing === "syncing";
  }

  /** The failed write or flush after which nothing more is written here. */
  get failure(): DeviceError | undefined {
    return this.#failure;
  }

  /** Gives the copy up: it takes no more writes, and the next commit goes on without it (I2). */
  fail(error: DeviceError): void {
    const isFirst = this.#failure === undefined;
    this.#failure ??= error;
    if (isFirst) this.onFailed();
    this.#stalled ||= error.code === "ETIMEDOUT";
    this.#gate.thaw(0);
    if (this.#stalled) for (const wake of this.#waiting) wake();
  }

  /** It does not answer, whether it was given up for that or failed before: what is under way on it may never end. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Device calls under way, those nobody waits for any more included. */
  get inFlight(): number {
    return this.#gate.inFlight;
  }

  /** Device calls that have ended well. */
  get callsAnswered(): number {
    return this.#gate.answered;
  }

  /** True for a place on the node whose device is let go of. */
  isLetGo(kib: number): boolean {
    return this.suspendedNode !== undefined && this.isOn(this.suspendedNode, kib);
  }

  /** True for a place on the node that holds nothing yet. */
  isLost(kib: number): boolean {
    return this.lostNode !== undefined && this.isOn(this.lostNode, kib);
  }

  /** True for a place on the node at `position`. */
  isOn(position: number, kib: number): boolean {
    const { device, startBytes } = this.nodes[position] as RowNode;
    return kib * KIB >= startBytes && kib * KIB < startBytes + device.sizeBytes;
  }

  /** True when nodes of both lie on one device that is open. */
  sharesDeviceWith({ nodes }: Copy): boolean {
    return this.nodes.some(
      ({ device }) => device instanceof Range && nodes.some((node) => device.isBeside(node.device)),
    );
  }

  /** A device of it lost what was flushed: the copy may have failed for another reason before it was told of that. */
  get lostContent(): boolean {
    return this.nodes.some(({ device }) => device instanceof Range && device.lostContent);
  }

  /** Resolves when no call is under way on these nodes. */
  still(positions: readonly number[]): Promise<void> {
    return this.#gate.still(positions);
  }

  /** Closes its devices, after what is under way on them. */
  async close(): Promise<void> {
    const closes = [this.device, ...this.replacedNodes].map((device) => device.close());
    await settle(closes);
  }

  /**
   * Resolves when no device call is under way. A copy that was dropped may not come back before: a late write would land
   * on a place that was given to something else meanwhile.
   */
  drained(): Promise<void> {
    return this.#gate.still();
  }

  /** Positions of its frozen nodes. */
  get frozenNodes(): readonly number[] {
    return this.#gate.frozen;
  }

  /** Monotonic time since which its calls are answered; infinite while a node is frozen. */
  get servingSinceMs(): number {
    return this.#gate.servingSinceMs;
  }

  /** True when a call on this range would be held, because its node is frozen. */
  holds(offsetBytes: number, lengthBytes: number): boolean {
    return this.#gate.holds(offsetBytes, lengthBytes);
  }

  /**
   * Holds all calls on the nodes at these positions from now on. Resolves when those under way are over, and what was written
   * there is durable; a flush that fails is kept in `failure`.
   */
  async freeze(positions: readonly number[]): Promise<void> {
    this.#gate.freeze(positions);
    await this.#gate.still(positions);
    // Not through the gate, which holds it.
    const flushes = positions.map(async (position) => this.nodes[position]?.device.flush());
    for (const result of await Promise.allSettled(flushes)) {
      if (result.status === "fulfilled") continue;
      this.errors.write++;
      this.fail(asDeviceError(this.name, "flush", 0, result.reason));
    }
  }

  /** Lets the calls go on that are held for these nodes, all unless some are named. */
  thaw(nowMs: number, positions?: readonly number[]): void {
    this.#gate.thaw(nowMs, positions);
  }

  /** Goes on counting from what the root remembers; what was counted since this copy was opened is kept. Once only. */
  restoreCounters(known: CopyCounters): void {
    if (this.#restored) return;
    this.#restored = true;
    this.errors.read += known.read;
    this.errors.write += known.write;
    this.errors.checksum += known.checksum;
    this.repaired += known.repaired;
  }

  /** What went wrong on it so far. */
  get counters(): CopyCounters {
    return { ...this.errors, repaired: this.repaired };
  }

  /** Counts anew from 0. What it failed for stays, and so does what it lacks. */
  clearCounters(): void {
    Object.assign(this.errors, { read: 0, write: 0, checksum: 0 });
    this.repaired = 0;
  }

  /** Why a block of `sizeBytes` can't be at `kib`; undefined when it can (I12). */
  placeRefusal(kib: number, sizeBytes: number): string | undefined {
    const sizeKib = sizeBytes / KIB;
    if (!Number.isInteger(sizeKib) || sizeKib < 1 || sizeKib > BLOCK_MAX_KIB || (sizeKib & (sizeKib - 1)) !== 0) {
      return `no block is ${sizeBytes} bytes long`;
    }
    if (kib < RING_AREA_KIB) return "the place lies in the front ring area";
    if (!(kib + sizeKib <= this.sizeKib - RING_AREA_KIB)) return "the place lies past the usable end of the copy";
    if (kib % sizeKib !== 0) return "the place is not aligned to the block's size";
    return undefined;
  }

  /** Reads; rejects when the device does. */
  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    return this.#gate.run(offsetBytes, totalBytes(targets), () => this.device.read(offsetBytes, targets));
  }

  /** Writes over a bad block. A failure rejects and is not held against the copy: the block is as bad as it was. */
  rewrite(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    return this.#gate.run(offsetBytes, bytes.length, () => this.device.write(offsetBytes, [bytes]));
  }

  /** Readies a range for small writes. A failure is kept: the system tells once only that it lost what was written before. */
  async prepare(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    await this.#guarded("flush", offsetBytes, lengthBytes, () =>
      Promise.resolve(this.device.prepare?.(offsetBytes, lengthBytes)),
    );
    return this.#failure === undefined;
  }

  /** Writes; a failure is kept in `failure` and counted. */
  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    return this.#guarded("write", offsetBytes, totalBytes(sources), () => this.device.write(offsetBytes, sources));
  }

  /** Flushes; a failure is kept in `failure` and counted. */
  flush(): Promise<void> {
    return this.#guarded("flush", 0, this.device.sizeBytes, () => this.device.flush());
  }

  /** Resolves when the call is over, or the copy given up as stalled. */
  #guarded(
    operation: DeviceOperation,
    offsetBytes: number,
    lengthBytes: number,
    call: () => Promise<void>,
  ): Promise<void> {
    if (this.#failure !== undefined) return Promise.resolve();
    return new Promise((resolve) => {
      const over = (): void => {
        this.#waiting.delete(resolve);
        resolve();
      };
      this.#waiting.add(resolve);
      // It may have failed while the call was held.
      const unlessFailed = (): Promise<void> => (this.#failure === undefined ? call() : Promise.resolve());
      this.#gate.run(offsetBytes, lengthBytes, unlessFailed).then(over, (error: unknown) => {
        this.errors.write++;
        this.fail(asDeviceError(this.name, operation, offsetBytes, error));
        over();
      });
    });
  }
}

export function asDeviceError(
  name: string,
  operation: DeviceOperation,
  offsetBytes: number,
  error: unknown,
): DeviceError {
  if (error instanceof DeviceError) return error;
  return new DeviceError(name, operation, offsetBytes, "EIO", messageOf(error));
}
