// From open devices to copies: reads every node header, sorts the ranges they list into copies and rows, and refuses
// what does not fit together. Whoever takes over from a process that had the volume mounted knows which one it is and must not fail
// for a target it can do without: what does not fit is left out then. Invariants: I11 (devices are locked by now), I12 (headers are
// verified before use). Whether a copy is missing or stale only the roots can tell: chooseRoot does that. Which of the copies on one device
// have left the volume they tell as well (left-ranges.ts).

import { SystemClock } from "../base/clock.ts";
import { type TimeLimit, withinLimit } from "../base/time-limit.ts";
import { equalBytes, formatUuid, type Uuid } from "../base/uuid.ts";
import type { BlockDevice } from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import { SharedDevice } from "../device/range.ts";
import { mountability } from "../format/features.ts";
import type { NodeHeader } from "../format/node-header.ts";
import { copyOf, type Node, type Part, refuseRival, withNode } from "./copy-parts.ts";
import { type Copy, CopySet, type CopySetOptions } from "./copy-set.ts";
import { CopiesError } from "./errors.ts";
import { withoutLeft } from "./left-ranges.ts";
import { readNodeHeader } from "./read-header.ts";
import {
  abandonTarget,
  closeTargets,
  isOfTarget,
  isSilent,
  isUnanswered,
  mostHopeful,
  type OpenTarget,
  openTargets,
} from "./targets.ts";

export interface AssembleOptions extends Pick<CopySetOptions, "readOnly" | "clock" | "deadlineMs" | "open"> {
  /** A target that can't be opened, or a row that is not whole, is a copy that is missing: the roots tell whether that will do. */
  readonly lenient?: boolean;
  /**
   * Of the volume that a process before us had mounted: a target that is not of it, can't be opened or does not fit with those
   * before it is a copy that is missing, as long as there is another. Only for a lenient caller.
   */
  readonly takesOver?: { readonly volumeUuid?: Uuid | undefined } | undefined;
  /** How long a target may take to open, and its header to be read; as long as it takes unless given. */
  readonly openMs?: number;
}

/** Opens the targets and makes copies of them. Throws DeviceError or CopiesError with one clear line. */
export async function assemble(targets: readonly string[], options: AssembleOptions = {}): Promise<CopySet> {
  if (targets.length === 0)
    throw new CopiesError("syntax", "targets", "none given; give at least one image file or block device");
  const absent: Error[] = [];
  const opened = await openTargets(targets, {
    writable: options.readOnly !== true,
    open: options.open,
    limit: limitOf(options),
    ...(options.lenient === true && { absent }),
    takesOver: options.takesOver !== undefined,
  });
  try {
    return await assembleCopies(opened, options, absent);
  } catch (error) {
    await letGo(opened, error);
    throw error;
  }
}

/**
 * Closes targets of which `error` kept copies from being made. Nobody waits for one that did not answer, whether that is
 * what the error says or another target was worse.
 */
export async function letGo(targets: readonly OpenTarget[], error: unknown): Promise<void> {
  const isHung = (target: OpenTarget): boolean => isSilent(error) || isUnanswered(target.name);
  targets.filter(isHung).forEach(abandonTarget);
  await closeTargets(targets.filter((target) => !isHung(target)));
}

function limitOf({ openMs, clock }: AssembleOptions): TimeLimit | undefined {
  return openMs === undefined ? undefined : { clock: clock ?? new SystemClock(), ms: openMs };
}

/** Makes copies of open devices, which belong to the CopySet from then on. */
export async function assembleCopies(
  targets: readonly OpenTarget[],
  options: AssembleOptions = {},
  absent: Error[] = [],
): Promise<CopySet> {
  const nodes = await readNodes(targets, options, absent);
  const known = options.takesOver?.volumeUuid;
  const volumeUuid = known ?? (nodes[0] as Node).header.volumeUuid;
  const dropped: Node[] = [];
  const leaveOut = (error: unknown, unused: readonly Node[]): void => {
    if (!isForgiven(error, options)) throw error;
    absent.push(error);
    dropped.push(...unused);
  };
  let byCopy: ReadonlyMap<string, readonly Part[]> = new Map();
  for (const node of nodes) {
    try {
      refuseUnfit(node, options.readOnly === true);
      refuseOther(node, volumeUuid, known === undefined ? `${nameOf(nodes[0] as Node)} to` : "the mounted one is");
      byCopy = withNode(byCopy, node);
    } catch (error) {
      leaveOut(error, [node]);
    }
  }
  const found: Copy[] = [];
  for (const parts of byCopy.values()) {
    try {
      found.push(copyOf(parts));
    } catch (error) {
      const unused = parts.map(({ node }) => node);
      leaveOut(error, unused);
    }
  }
  const copies: Copy[] = [];
  const { staying, left } = await withoutLeft(found, volumeUuid, limitOf(options));
  for (const copy of staying) {
    try {
      refuseRival(copy, copies);
      copies.push(copy);
    } catch (error) {
      leaveOut(error, []);
      await copy.close();
    }
  }
  if (copies.length === 0 && options.takesOver !== undefined) throw mostHopeful(absent);
  for (const { shared } of dropped) await shared.discard();
  const set = new CopySet(copies, { ...options, volumeUuid });
  set.leftRanges = left;
  set.absent = absent.map(({ message }) => message);
  set.awaitsTargets = absent.some(isSilent);
  return set;
}

/** Who has this can go on without the copy it is about. */
function isForgiven(error: unknown, { lenient, takesOver }: AssembleOptions): error is CopiesError {
  if (lenient !== true || !(error instanceof CopiesError)) return false;
  return takesOver !== undefined || error.kind === "missing-node";
}

const nameOf = ({ shared }: Node): string => shared.device.name;

/** All nodes with their headers; a lenient caller does without those that have none, as long as there is another. */
async function readNodes(
  targets: readonly OpenTarget[],
  options: AssembleOptions,
  absent: Error[],
): Promise<readonly Node[]> {
  const limit = limitOf(options);
  const found = targets.flatMap(({ name, devices }) => devices.map((device) => ({ name, device })));
  const headers = await Promise.allSettled(found.map(({ device }) => headerInTime(device, limit)));
  const nodes: Node[] = [];
  const mayLack: (error: unknown) => error is Error = options.takesOver === undefined ? isLost : isOfTarget;
  // Before anything is refused: closing one would wait for its read.
  for (const [i, { name, device }] of found.entries()) {
    const header = headers[i];
    if (header?.status === "rejected" && isSilent(header.reason)) abandonTarget({ name, devices: [device] });
  }
  for (const [i, { device }] of found.entries()) {
    const header = headers[i] as PromiseSettledResult<NodeHeader>;
    if (header.status === "fulfilled") {
      nodes.push({ shared: new SharedDevice(device), header: header.value });
      continue;
    }
    const error: unknown = header.reason;
    if (options.lenient !== true || !mayLack(error)) throw error;
    absent.push(error);
    if (!isSilent(error)) await device.close();
  }
  if (nodes.length === 0) throw mostHopeful(absent);
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

function refuseUnfit({ shared, header }: Node, readOnly: boolean): void {
  const verdict = mountability(header.formatVersion, header.features);
  if (verdict.kind === "refuse" || (verdict.kind === "read-only" && !readOnly)) {
    throw new CopiesError("unsupported", shared.device.name, verdict.reason);
  }
}

function refuseOther(node: Node, volumeUuid: Uuid, whoseIs: string): void {
  const own = node.header.volumeUuid;
  if (equalBytes(own, volumeUuid)) return;
  const detail = `belongs to volume ${formatUuid(own)}, but ${whoseIs} ${formatUuid(volumeUuid)}; give targets of one volume only`;
  throw new CopiesError("mixed", nameOf(node), detail);
}
