// How a new volume is laid out on its targets, and the node headers that say so.

import type { Random } from "../base/random.ts";
import { alignDown } from "../base/integers.ts";
import { settle } from "../base/settle.ts";
import { randomUuid, type Uuid } from "../base/uuid.ts";
import type { BlockDevice } from "../device/device.ts";
import { FORMAT_VERSION, NO_FEATURES } from "../format/features.ts";
import {
  COPIES_MAX,
  COPY_MAX_KIB,
  COPY_MIN_BYTES,
  KIB,
  NODE_ALIGNMENT_BYTES,
  NODE_HEADER_AREA_BYTES,
} from "../format/geometry.ts";
import {
  encodeNodeHeader,
  NODE_HEADER_OFFSETS,
  NODES_PER_ROW_MAX,
  type NodeHeader,
  type NodeRange,
} from "../format/node-header.ts";
import { assembleCopies } from "./assemble.ts";
import type { CopySet } from "./copy-set.ts";
import { CopiesError } from "./errors.ts";
import type { OpenTarget } from "./targets.ts";

export interface LayoutTarget {
  readonly name: string;
  /** Nodes in the order of the row. */
  readonly nodes: readonly { readonly name: string; readonly sizeBytes: number }[];
  /** Copies to put on it, side by side, equally large; more than one only on a single node. */
  readonly copies: number;
}

export interface LayoutIdentity {
  readonly volumeUuid: Uuid;
  readonly label: string;
  readonly random: Random;
}

/**
 * The header of every node of every target, in order; the first copy gets index `firstIndex`. Throws CopiesError for a target that can't be
 * used. Pure.
 */
export function planLayout(targets: readonly LayoutTarget[], identity: LayoutIdentity, firstIndex = 0): NodeHeader[][] {
  let copyIndex = firstIndex;
  return targets.map((target) => {
    const ranges =
      target.copies === 1
        ? rowRanges(target, copyIndex, identity.random)
        : sideBySide(target, copyIndex, identity.random);
    copyIndex += target.copies;
    if (copyIndex > COPIES_MAX)
      throw new CopiesError("too-many", target.name, `a volume has at most ${COPIES_MAX} copies`);
    return ranges.map((own) => ({
      formatVersion: FORMAT_VERSION,
      features: NO_FEATURES,
      volumeUuid: identity.volumeUuid,
      label: identity.label,
      ranges: own,
    }));
  });
}

/** Writes the node headers of a new volume and makes copies of the devices. What they held is lost. */
export async function formatCopies(
  targets: readonly (OpenTarget & { readonly copies: number })[],
  identity: LayoutIdentity,
): Promise<CopySet> {
  const plan = planLayout(
    targets.map(({ name, devices, copies }) => ({ name, nodes: devices, copies })),
    identity,
  );
  const writes = targets.map(({ devices }, t) => writeHeaders(devices, plan[t] as NodeHeader[]));
  await settle(writes);
  return assembleCopies(targets);
}

/** Writes the header of each device and flushes it. */
export async function writeHeaders(devices: readonly BlockDevice[], headers: readonly NodeHeader[]): Promise<void> {
  const writes = devices.map(async (device, n) => {
    for (const at of NODE_HEADER_OFFSETS) await device.write(at, [encodeNodeHeader(headers[n] as NodeHeader, at)]);
    await device.flush();
  });
  await settle(writes);
}

/** What each node of a row gives to a copy, in KiB. Throws CopiesError for a row that can't be one. Pure. */
export function rowSizesKib({ name, nodes }: Pick<LayoutTarget, "name" | "nodes">): number[] {
  if (nodes.length < 1 || nodes.length > NODES_PER_ROW_MAX) {
    throw new CopiesError("too-many", name, `a row has 1 to ${NODES_PER_ROW_MAX} nodes`);
  }
  const sizesKib = nodes.map((node) => {
    const sizeKib = usableKib(node);
    if (sizeKib > 0) return sizeKib;
    throw new CopiesError("too-small", node.name, `${node.sizeBytes} bytes are too few for a node`);
  });
  refuseSize(
    name,
    sizesKib.reduce((sum, sizeKib) => sum + sizeKib, 0),
  );
  return sizesKib;
}

/** One copy over all nodes of a target. */
function rowRanges(target: LayoutTarget, copyIndex: number, random: Random): NodeRange[][] {
  const sizesKib = rowSizesKib(target);
  const copyUuid = randomUuid(random);
  let copyStartKib = 0;
  return sizesKib.map((sizeKib, nodePosition) => {
    const range = {
      copyUuid,
      nodeUuid: randomUuid(random),
      copyIndex,
      nodePosition,
      nodeCount: sizesKib.length,
      startKib: HEADER_KIB,
      sizeKib,
      copyStartKib,
    };
    copyStartKib += sizeKib;
    return [range];
  });
}

/** Several copies on one node. */
function sideBySide(target: LayoutTarget, firstIndex: number, random: Random): NodeRange[][] {
  const [node] = target.nodes;
  if (node === undefined || target.nodes.length !== 1 || target.copies < 1) {
    throw new CopiesError("syntax", target.name, "several copies go on a single device, not on a row");
  }
  const sizeKib = alignDown(Math.floor(usableKib(node) / target.copies), NODE_ALIGNMENT_BYTES / KIB);
  refuseSize(target.name, sizeKib);
  const ranges: NodeRange[] = [];
  for (let i = 0; i < target.copies; i++) {
    ranges.push({
      copyUuid: randomUuid(random),
      nodeUuid: randomUuid(random),
      copyIndex: firstIndex + i,
      nodePosition: 0,
      nodeCount: 1,
      startKib: HEADER_KIB + i * sizeKib,
      sizeKib,
      copyStartKib: 0,
    });
  }
  return [ranges];
}

const HEADER_KIB = NODE_HEADER_AREA_BYTES / KIB;

/** What a node can hold besides its header, rounded down. */
function usableKib(node: { readonly sizeBytes: number }): number {
  return (alignDown(node.sizeBytes, NODE_ALIGNMENT_BYTES) - NODE_HEADER_AREA_BYTES) / KIB;
}

function refuseSize(name: string, sizeKib: number): void {
  if (sizeKib * KIB < COPY_MIN_BYTES) {
    throw new CopiesError(
      "too-small",
      name,
      `a copy of ${Math.max(0, sizeKib)} KiB is too small; it takes at least ${COPY_MIN_BYTES / KIB} KiB`,
    );
  }
  if (sizeKib > COPY_MAX_KIB) throw new CopiesError("too-many", name, `a copy is at most ${COPY_MAX_KIB} KiB`);
}
