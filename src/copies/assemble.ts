// From open devices to copies: reads every node header, sorts the ranges they list into copies and rows, and refuses
// what does not fit together. Invariants: I11 (devices are locked by now), I12 (headers are verified before use).
// Whether a copy is missing or stale only the roots can tell: chooseRoot does that.

import { SystemClock } from "../base/clock.ts";
import { type TimeLimit, withinLimit } from "../base/time-limit.ts";
import { equalBytes, formatUuid, isZero, toHex } from "../base/uuid.ts";
import { type BlockDevice, DeviceError } from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import { Range, SharedDevice } from "../device/range.ts";
import { Row } from "../device/row.ts";
import { FormatError } from "../format/format-error.ts";
import { mountability } from "../format/features.ts";
import { COPY_MIN_BYTES, KIB } from "../format/geometry.ts";
import {
  decodeNodeHeader,
  hasNodeHeaderMagic,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
  type NodeHeader,
  type NodeRange,
} from "../format/node-header.ts";
import { Copy, CopySet, type CopySetOptions } from "./copy-set.ts";
import { CopiesError } from "./errors.ts";
import { abandonTarget, closeTargets, type OpenTarget, openTargets } from "./targets.ts";

export interface AssembleOptions extends Pick<CopySetOptions, "readOnly" | "clock" | "deadlineMs" | "open"> {
  /** A target that can't be opened, or a row that is not whole, is a copy that is missing: the roots tell whether that will do. */
  readonly lenient?: boolean;
  /** How long a target may take to open, and its header to be read; as long as it takes unless given. */
  readonly openMs?: number;
}

/** Opens the targets and makes copies of them. Throws DeviceError or CopiesError with one clear line. */
export async function assemble(targets: readonly string[], options: AssembleOptions = {}): Promise<CopySet> {
  if (targets.length === 0)
    throw new CopiesError("syntax", "targets", "none given; give at least one image file or block device");
  const absent: string[] = [];
  const opened = await openTargets(targets, {
    writable: options.readOnly !== true,
    open: options.open,
    limit: limitOf(options),
    ...(options.lenient === true && { absent }),
  });
  try {
    return await assembleCopies(opened, options, absent);
  } catch (error) {
    await letGo(opened, error);
    throw error;
  }
}

/** Closes targets of which `error` kept copies from being made. Where one did not answer, nobody waits for that. */
export async function letGo(targets: readonly OpenTarget[], error: unknown): Promise<void> {
  if (isSilent(error)) targets.forEach(abandonTarget);
  else await closeTargets(targets);
}

function limitOf({ openMs, clock }: AssembleOptions): TimeLimit | undefined {
  return openMs === undefined ? undefined : { clock: clock ?? new SystemClock(), ms: openMs };
}

const isSilent = (error: unknown): boolean => error instanceof DeviceError && error.code === "ETIMEDOUT";

interface Node {
  readonly shared: SharedDevice;
  readonly header: NodeHeader;
}

interface Part {
  readonly node: Node;
  readonly range: NodeRange;
}

/** Makes copies of open devices, which belong to the CopySet from then on. */
export async function assembleCopies(
  targets: readonly OpenTarget[],
  options: AssembleOptions = {},
  absent: string[] = [],
): Promise<CopySet> {
  const nodes = await readNodes(targets, options, absent);
  const first = nodes[0] as Node;
  for (const { shared, header } of nodes) refuseUnfit(shared.device, header, first, options.readOnly === true);
  const copies: Copy[] = [];
  for (const [index, parts] of groupByCopy(nodes)) {
    try {
      copies.push(copyOf(index, parts));
    } catch (error) {
      if (options.lenient !== true || !(error instanceof CopiesError) || error.kind !== "missing-node") throw error;
      absent.push(error.message);
      for (const { node } of parts) await node.shared.discard();
    }
  }
  const set = new CopySet(copies, { ...options, volumeUuid: first.header.volumeUuid });
  set.absent = absent;
  return set;
}

/** All nodes with their headers; a lenient caller does without those that have none, as long as there is another. */
async function readNodes(
  targets: readonly OpenTarget[],
  options: AssembleOptions,
  absent: string[],
): Promise<readonly Node[]> {
  const limit = limitOf(options);
  const found = targets.flatMap(({ name, devices }) => devices.map((device) => ({ name, device })));
  const headers = await Promise.allSettled(found.map(({ device }) => headerInTime(device, limit)));
  const nodes: Node[] = [];
  let lost: Error | undefined;
  for (const [i, { name, device }] of found.entries()) {
    const header = headers[i] as PromiseSettledResult<NodeHeader>;
    if (header.status === "fulfilled") {
      nodes.push({ shared: new SharedDevice(device), header: header.value });
      continue;
    }
    const error: unknown = header.reason;
    if (options.lenient !== true || !isLost(error)) throw error;
    lost ??= error;
    absent.push(error.message);
    if (isSilent(error)) abandonTarget({ name, devices: [device] });
    else await device.close();
  }
  if (nodes.length === 0 && lost !== undefined) throw lost;
  return nodes;
}

/** Nothing of the volume is there, or the device does not answer: a copy without it is missing. */
function isLost(error: unknown): error is Error {
  return (
    isSilent(error) || (error instanceof CopiesError && (error.kind === "damaged-header" || error.kind === "empty"))
  );
}

function headerInTime(device: BlockDevice, limit: TimeLimit | undefined): Promise<NodeHeader> {
  return withinLimit(readNodeHeader(device), limit, () => {
    const detail = `does not answer (waited ${limit?.ms} ms); try again when its device does`;
    return new OpenError(device.name, "read", "ETIMEDOUT", detail);
  });
}

/** The header of a device, from its second place when the first is damaged. */
export async function readNodeHeader(device: BlockDevice): Promise<NodeHeader> {
  let claimed = false;
  let empty = true;
  let reason: string | undefined;
  for (const offsetBytes of NODE_HEADER_OFFSETS) {
    const bytes = new Uint8Array(NODE_HEADER_BYTES);
    if (offsetBytes + bytes.length > device.sizeBytes) continue;
    try {
      await device.read(offsetBytes, [bytes]);
      claimed ||= hasNodeHeaderMagic(bytes);
      empty &&= isZero(bytes);
      return decodeNodeHeader(bytes, offsetBytes, device.name, device.sizeBytes);
    } catch (error) {
      if (error instanceof DeviceError) {
        claimed = true;
        reason ??= error.code;
      } else if (error instanceof FormatError) {
        if (hasNodeHeaderMagic(bytes)) reason ??= error.detail;
      } else throw error;
    }
  }
  if (!claimed)
    throw new CopiesError(
      empty ? "empty" : "foreign",
      device.name,
      "is not an h2ts volume; format it with mkfs.h2ts first",
    );
  throw new CopiesError("damaged-header", device.name, `both node headers are unusable (${reason ?? "unknown"})`);
}

function refuseUnfit(device: BlockDevice, header: NodeHeader, first: Node, readOnly: boolean): void {
  const verdict = mountability(header.formatVersion, header.features);
  if (verdict.kind === "refuse" || (verdict.kind === "read-only" && !readOnly)) {
    throw new CopiesError("unsupported", device.name, verdict.reason);
  }
  if (equalBytes(header.volumeUuid, first.header.volumeUuid)) return;
  const own = formatUuid(header.volumeUuid);
  const other = `${first.shared.device.name} to ${formatUuid(first.header.volumeUuid)}`;
  throw new CopiesError(
    "mixed",
    device.name,
    `belongs to volume ${own}, but ${other}; give targets of one volume only`,
  );
}

function groupByCopy(nodes: readonly Node[]): Map<number, Part[]> {
  const copies = new Map<number, Part[]>();
  for (const node of nodes) {
    for (const range of node.header.ranges) {
      const parts = copies.get(range.copyIndex);
      if (parts === undefined) copies.set(range.copyIndex, [{ node, range }]);
      else parts.push({ node, range });
    }
  }
  return copies;
}

/** Puts the nodes of one copy in order and checks that they make a whole row. */
function copyOf(index: number, parts: Part[]): Copy {
  const [first] = parts as [Part];
  const seen = new Map<string, string>();
  for (const { node, range } of parts) {
    const { name } = node.shared.device;
    if (!equalBytes(range.copyUuid, first.range.copyUuid)) {
      throw new CopiesError(
        "mixed",
        name,
        `and ${first.node.shared.device.name} both claim to be copy ${index}; give only one of them`,
      );
    }
    const twin = seen.get(toHex(range.nodeUuid));
    if (twin !== undefined) throw new CopiesError("twice", name, `is a clone of ${twin}; give only one of them`);
    seen.set(toHex(range.nodeUuid), name);
    if (range.nodeCount !== first.range.nodeCount) {
      throw new CopiesError(
        "wrong-row",
        name,
        `says copy ${index} has ${range.nodeCount} nodes, ${first.node.shared.device.name} says ${first.range.nodeCount}`,
      );
    }
  }
  parts.sort((a, b) => a.range.nodePosition - b.range.nodePosition);
  const { nodeCount } = first.range;
  const same = parts.findIndex((part, i) => part.range.nodePosition === parts[i - 1]?.range.nodePosition);
  if (same > 0) {
    const [one, other] = [parts[same - 1], parts[same]].map((part) => part?.node.shared.device.name ?? "");
    const detail = `and ${other} both claim to be node ${index}/${parts[same]?.range.nodePosition}; give only one of them`;
    throw new CopiesError("mixed", one ?? "", detail);
  }
  const names = parts.map(({ node }) => node.shared.device.name);
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
        part.node.shared.device.name,
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
