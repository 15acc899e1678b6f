// From nodes to one copy: those that claim the same place are refused, and the row they make must be whole.
// Invariant I12: what their headers say is held against each other before anything is read behind them.

import { equalBytes, formatUuid } from "../base/uuid.ts";
import { Range, type SharedDevice } from "../device/range.ts";
import { Row } from "../device/row.ts";
import { COPY_MIN_BYTES, KIB } from "../format/geometry.ts";
import type { NodeHeader, NodeRange } from "../format/node-header.ts";
import { Copy } from "./copy.ts";
import { CopiesError } from "./errors.ts";

/** An open device with its verified header. */
export interface Node {
  readonly shared: SharedDevice;
  readonly header: NodeHeader;
}

/** One node of one copy. */
export interface Part {
  readonly node: Node;
  readonly range: NodeRange;
}

const nameOf = ({ node }: Part): string => node.shared.device.name;

/** The parts of each copy, by its index and UUID, with those of one more node. Throws CopiesError when they can't go together. */
export function withNode(known: ReadonlyMap<string, readonly Part[]>, node: Node): Map<string, readonly Part[]> {
  const byCopy = new Map(known);
  for (const range of node.header.ranges) {
    const part = { node, range };
    const key = `${range.copyIndex} ${formatUuid(range.copyUuid)}`;
    const others = byCopy.get(key) ?? [];
    refuseTwin(part, others);
    byCopy.set(key, [...others, part]);
  }
  return byCopy;
}

/** Throws CopiesError when one of `others` is another copy of the same index. */
export function refuseRival({ index, name }: Copy, others: readonly Copy[]): void {
  const rival = others.find((other) => other.index === index);
  if (rival === undefined) return;
  throw new CopiesError("mixed", name, `and ${rival.name} both claim to be copy ${index}; give only one of them`);
}

function refuseTwin(part: Part, others: readonly Part[]): void {
  const { range } = part;
  const name = nameOf(part);
  for (const other of others) {
    const { copyIndex } = range;
    if (equalBytes(range.nodeUuid, other.range.nodeUuid))
      throw new CopiesError("twice", name, `is a clone of ${nameOf(other)}; give only one of them`);
    if (range.nodeCount !== other.range.nodeCount) {
      const detail = `says copy ${copyIndex} has ${range.nodeCount} nodes, ${nameOf(other)} says ${other.range.nodeCount}`;
      throw new CopiesError("wrong-row", name, detail);
    }
    if (range.nodePosition === other.range.nodePosition) {
      const detail = `and ${nameOf(other)} both claim to be node ${copyIndex}/${range.nodePosition}; give only one of them`;
      throw new CopiesError("mixed", name, detail);
    }
  }
}

/** Puts the nodes of one copy in order and makes it of them. Throws CopiesError when they are not a whole row. */
export function copyOf(given: readonly Part[]): Copy {
  const parts = given.toSorted((a, b) => a.range.nodePosition - b.range.nodePosition);
  const [first] = parts as [Part];
  const { copyIndex: index, nodeCount } = first.range;
  const names = parts.map(nameOf);
  let startKib = 0;
  for (let position = 0; position < nodeCount; position++) {
    const part = parts[position];
    if (part?.range.nodePosition !== position) {
      throw new CopiesError(
        "missing-node",
        names.join("+"),
        `node ${position + 1} of ${nodeCount} of copy ${index} is missing; give all of them, joined by plus signs`,
      );
    }
    if (part.range.copyStartKib !== startKib) {
      throw new CopiesError(
        "wrong-row",
        nameOf(part),
        `node ${position + 1} of copy ${index} starts at KiB ${part.range.copyStartKib}, its row is ${startKib} KiB long before it`,
      );
    }
    startKib += part.range.sizeKib;
  }
  if (startKib * KIB < COPY_MIN_BYTES)
    throw new CopiesError("too-small", names.join("+"), `copy ${index} is only ${startKib} KiB`);
  const ranges = parts.map(({ node, range }) => new Range(node.shared, range.startKib * KIB, range.sizeKib * KIB));
  const device = ranges.length === 1 ? (ranges[0] as Range) : new Row(ranges);
  const nodeUuids = parts.map(({ range }) => range.nodeUuid);
  return new Copy(index, first.range.copyUuid, device, names, nodeUuids);
}
