// A linear row of nodes as one device: the second begins where the first ends. One that fails takes its own part along,
// the others go on.

import { settle } from "../base/settle.ts";
import { totalBytes } from "../base/total-bytes.ts";
import type { BlockDevice, DeviceExtent, DeviceOperation } from "./device.ts";
import { Gate, ROW_CALLS_IN_FLIGHT_MAX } from "./gate.ts";
import { pastEnd } from "./past-end.ts";
import { extentsOf, zeroRange } from "./sparse.ts";

/** One node of a row. */
export interface RowNode {
  readonly device: BlockDevice;
  /** Where it begins within the row. */
  readonly startBytes: number;
}

/** The nodes of a device in their order: one, unless it is a row. */
export function rowNodes(device: BlockDevice): readonly RowNode[] {
  if (!(device instanceof Row)) return [{ device, startBytes: 0 }];
  let startBytes = 0;
  return device.nodes.map((node) => {
    const placed = { device: node, startBytes };
    startBytes += node.sizeBytes;
    return placed;
  });
}

export class Row implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly exclusive: boolean;
  readonly nodes: readonly BlockDevice[];
  /** Where each node begins within the row. */
  readonly #starts: readonly number[];

  constructor(nodes: readonly BlockDevice[]) {
    const starts: number[] = [];
    let sizeBytes = 0;
    for (const node of nodes) {
      starts.push(sizeBytes);
      sizeBytes += node.sizeBytes;
    }
    this.name = nodes.map((node) => node.name).join("+");
    this.sizeBytes = sizeBytes;
    this.exclusive = nodes.every((node) => node.exclusive);
    this.nodes = nodes;
    this.#starts = starts;
    // They may all lie on what hangs (I9).
    const row = new Gate(ROW_CALLS_IN_FLIGHT_MAX);
    for (const node of nodes) node.shareThreads?.(row);
  }

  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    return this.#spread("read", offsetBytes, targets);
  }

  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    return this.#spread("write", offsetBytes, sources);
  }

  async flush(): Promise<void> {
    await settle(this.nodes.map((node) => node.flush()));
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.#isWithin(offsetBytes, lengthBytes)) return;
    await settle(this.#parts(offsetBytes, lengthBytes).map(({ node, from, to }) => node.discard(from, to - from)));
  }

  async prepare(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.#isWithin(offsetBytes, lengthBytes)) return;
    await settle(
      this.#parts(offsetBytes, lengthBytes).map(async ({ node, from, to }) => node.prepare?.(from, to - from)),
    );
  }

  async zero(offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void> {
    this.#refusePastEnd("zero", offsetBytes, lengthBytes);
    const parts = this.#parts(offsetBytes, lengthBytes);
    await settle(parts.map(({ node, from, to }) => zeroRange(node, from, to - from, keepRoom)));
  }

  async extents(offsetBytes: number, lengthBytes: number, countMax: number): Promise<DeviceExtent[]> {
    this.#refusePastEnd("map", offsetBytes, lengthBytes);
    const extents: DeviceExtent[] = [];
    for (const { node, from, to } of this.#parts(offsetBytes, lengthBytes)) {
      const found = await extentsOf(node, from, to - from, countMax - extents.length);
      extents.push(...found);
      const foundBytes = found.reduce((sum, extent) => sum + extent.lengthBytes, 0);
      if (extents.length >= countMax || foundBytes < to - from) break;
    }
    return extents;
  }

  /** That of the farthest node. */
  get distanceMs(): number | undefined {
    return largest(this.nodes.map((node) => node.distanceMs));
  }

  get patienceMs(): number | undefined {
    return largest(this.nodes.map((node) => node.patienceMs));
  }

  writeUntil(untilMs: number): void {
    for (const node of this.nodes) node.writeUntil?.(untilMs);
  }

  async close(): Promise<void> {
    await settle(this.nodes.map((node) => node.close()));
  }

  async #spread(operation: "read" | "write", offsetBytes: number, buffers: readonly Uint8Array[]): Promise<void> {
    const lengthBytes = totalBytes(buffers);
    this.#refusePastEnd(operation, offsetBytes, lengthBytes);
    if (lengthBytes === 0) return;
    let index = this.#nodeAt(offsetBytes);
    const first = this.nodes[index] as BlockDevice;
    const within = offsetBytes - (this.#starts[index] as number);
    if (within + lengthBytes <= first.sizeBytes) return first[operation](within, buffers);
    const calls: Promise<void>[] = [];
    let part: Uint8Array[] = [];
    let position = within;
    let room = first.sizeBytes - within;
    const submit = (): void => {
      if (part.length > 0) calls.push((this.nodes[index] as BlockDevice)[operation](position, part));
      index++;
      part = [];
      position = 0;
      room = this.nodes[index]?.sizeBytes ?? 0;
    };
    for (const buffer of buffers) {
      let rest = buffer;
      while (rest.length > 0) {
        if (room === 0) submit();
        const piece = rest.length <= room ? rest : rest.subarray(0, room);
        part.push(piece);
        room -= piece.length;
        rest = rest.subarray(piece.length);
      }
    }
    submit();
    await settle(calls);
  }

  #isWithin(offsetBytes: number, lengthBytes: number): boolean {
    return offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes;
  }

  /** The nodes that have a part in a range, and which of their own bytes that is. */
  #parts(offsetBytes: number, lengthBytes: number): { node: BlockDevice; from: number; to: number }[] {
    return this.nodes.flatMap((node, i) => {
      const start = this.#starts[i] as number;
      const from = Math.max(offsetBytes - start, 0);
      const to = Math.min(offsetBytes + lengthBytes - start, node.sizeBytes);
      return from < to ? [{ node, from, to }] : [];
    });
  }

  #refusePastEnd(operation: DeviceOperation, offsetBytes: number, lengthBytes: number): void {
    if (!this.#isWithin(offsetBytes, lengthBytes)) throw pastEnd(this, operation, offsetBytes, lengthBytes);
  }

  /** Binary search: the last node that begins at or before `offsetBytes`. */
  #nodeAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#starts[middle] as number) <= offsetBytes) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function largest(values: readonly (number | undefined)[]): number | undefined {
  return values.reduce((most, value) => (most === undefined || (value ?? 0) > most ? value : most), undefined);
}
