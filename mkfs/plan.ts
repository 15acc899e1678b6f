// Looks at every target before anything is touched and says what will be made of it, or refuses. Nothing here writes.

import { readFileSync, realpathSync, statSync, type Stats } from "node:fs";
import { dirname, basename, join, resolve } from "node:path";
import { formatByteSize } from "../src/base/byte-size.ts";
import { deviceName } from "../src/base/device-number.ts";
import { alignDown } from "../src/base/integers.ts";
import { messageOf } from "../src/base/thrown.ts";
import { nodesOf } from "../src/copies/target-nodes.ts";
import { COPY_MIN_BYTES, NODE_ALIGNMENT_BYTES, NODE_HEADER_AREA_BYTES } from "../src/format/geometry.ts";
import { usedBySystem } from "../src/device/busy.ts";
import type { BlockDevice } from "../src/device/device.ts";
import { deviceSignature, existingSignature, withArticle } from "../src/device/signatures.ts";
import { openDevice } from "../src/nbd/open.ts";
import { isRemoteTarget, parseRemoteTarget } from "../src/nbd/target.ts";
import type { MkfsOptions } from "./options.ts";

/** A target can't be formatted; the message names it and says what to do. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

export interface PlannedNode {
  /** Resolved path, or the canonical text of a remote node. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly kind: "new file" | "file" | "block device" | "remote";
  /** The file has another size now and is to get `sizeBytes`. */
  readonly resize: boolean;
  /** What -f overwrites. */
  readonly overwrites: string | undefined;
}

export interface PlannedTarget {
  readonly target: string;
  readonly nodes: readonly PlannedNode[];
  /** Copies put on this target. */
  readonly copies: number;
}

/** One entry for each TARGET, in order. Throws {@link RefusedError} for the first that can't be formatted. */
export async function planTargets(options: MkfsOptions): Promise<PlannedTarget[]> {
  const seen = new Map<string, string>();
  const copies = options.targets.length === 1 ? (options.copies ?? 1) : 1;
  const planned: PlannedTarget[] = [];
  for (const target of options.targets) {
    const names = namesOf(target);
    if (copies > 1 && names.length > 1)
      throw new RefusedError(`${target}: -n ${copies} goes with one device, not a row`);
    const nodes: PlannedNode[] = [];
    for (const name of names) nodes.push(await planNode(name, options, seen));
    for (const node of nodes) {
      const usable = alignDown(node.sizeBytes, NODE_ALIGNMENT_BYTES) - NODE_HEADER_AREA_BYTES;
      if (usable < NODE_ALIGNMENT_BYTES)
        throw new RefusedError(`${node.path}: ${formatByteSize(node.sizeBytes)} is too small for a node`);
    }
    const usable = nodes.reduce(
      (sum, n) => sum + alignDown(n.sizeBytes, NODE_ALIGNMENT_BYTES) - NODE_HEADER_AREA_BYTES,
      0,
    );
    if (usable / copies < COPY_MIN_BYTES) {
      const least = (COPY_MIN_BYTES + NODE_ALIGNMENT_BYTES) * copies + NODE_HEADER_AREA_BYTES * nodes.length;
      throw new RefusedError(
        `${target}: ${formatByteSize(nodes.reduce((sum, n) => sum + n.sizeBytes, 0))} is too small for ` +
          `${copies === 1 ? "a copy" : `${copies} copies`}; it takes at least ${Math.ceil(least / 1024 / 1024)}M`,
      );
    }
    planned.push({ target, nodes, copies });
  }
  refuseUselessSize(planned, options);
  return planned;
}

/** A device and an export have a size of their own; beside image files that is no mistake. */
function refuseUselessSize(planned: readonly PlannedTarget[], options: MkfsOptions): void {
  const isForSome = planned.some(({ nodes }) => nodes.some(({ kind }) => kind === "file" || kind === "new file"));
  if (options.sizeBytes !== undefined && !isForSome)
    throw new RefusedError(
      `${options.targets.join(" ")}: -s is for image files; devices and exports have a size of their own`,
    );
}

function namesOf(target: string): string[] {
  try {
    return nodesOf(target);
  } catch (error) {
    throw new RefusedError(messageOf(error));
  }
}

async function planNode(name: string, options: MkfsOptions, seen: Map<string, string>): Promise<PlannedNode> {
  if (isRemoteTarget(name)) return planRemote(name, options, seen);
  let stat: Stats | undefined;
  try {
    stat = statSync(name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") throw new RefusedError(`${name}: ${reason(error)}`);
  }
  if (stat && !stat.isFile() && !stat.isBlockDevice()) {
    throw new RefusedError(`${name}: is ${stat.isDirectory() ? "a folder" : "neither a file nor a block device"}`);
  }
  const path = stat ? realpathSync(name) : futurePath(name);
  const identity = stat ? (stat.isBlockDevice() ? `device ${stat.rdev}` : `file ${stat.dev} ${stat.ino}`) : path;
  refuseTwin(name, identity, seen);
  if (!stat) {
    if (options.sizeBytes === undefined) throw new RefusedError(`${name}: does not exist; give -s SIZE to create it`);
    return { path, sizeBytes: options.sizeBytes, kind: "new file", resize: false, overwrites: undefined };
  }
  const used = await usedBySystem(path, stat);
  if (used !== undefined) throw new RefusedError(`${name}: is ${used}; nothing was changed`);
  const overwrites = await readSignature(name, stat.isFile());
  refuseHeld(name, overwrites, options.force);
  if (stat.isBlockDevice()) {
    return { path, sizeBytes: blockDeviceBytes(name, stat), kind: "block device", resize: false, overwrites };
  }
  if (stat.size === 0 && options.sizeBytes === undefined) throw new RefusedError(`${name}: is empty; give -s SIZE`);
  const sizeBytes = options.sizeBytes ?? stat.size;
  return { path, sizeBytes, kind: "file", resize: sizeBytes !== stat.size, overwrites };
}

/** An export has the size its server says; what lies on it is read from there. */
async function planRemote(name: string, options: MkfsOptions, seen: Map<string, string>): Promise<PlannedNode> {
  const path = parseRemoteTarget(name).text;
  refuseTwin(name, path, seen);
  const device = await openDevice(name, { writable: true });
  try {
    const overwrites = await deviceSignature(device);
    refuseHeld(name, overwrites, options.force);
    return { path, sizeBytes: device.sizeBytes, kind: "remote", resize: false, overwrites };
  } finally {
    await device.close();
  }
}

function refuseTwin(name: string, identity: string, seen: Map<string, string>): void {
  const twin = seen.get(identity);
  if (twin !== undefined)
    throw new RefusedError(
      `${name}: given twice${twin === name ? "" : ` (it is the same as ${twin})`}; give each target once, or -n for several copies on one`,
    );
  seen.set(identity, name);
}

function refuseHeld(name: string, overwrites: string | undefined, force: boolean): void {
  if (overwrites !== undefined && !force)
    throw new RefusedError(`${name}: holds ${withArticle(overwrites)}; use -f to overwrite it`);
}

/** Looks again at a target that is open: somebody may have put something there since. Throws {@link RefusedError}. */
export async function refuseHeldNow({ path, kind }: PlannedNode, device: BlockDevice): Promise<void> {
  const found = await (kind === "remote" ? deviceSignature(device) : readSignature(path, kind === "file"));
  refuseHeld(path, found, false);
}

function futurePath(name: string): string {
  try {
    return join(realpathSync(dirname(resolve(name))), basename(name));
  } catch {
    throw new RefusedError(`${name}: its folder does not exist; create it first`);
  }
}

async function readSignature(name: string, isFile: boolean): Promise<string | undefined> {
  try {
    return await existingSignature(name, isFile);
  } catch (error) {
    throw new RefusedError(`${name}: ${reason(error)}`);
  }
}

function blockDeviceBytes(name: string, stat: Stats): number {
  try {
    return Number(readFileSync(`/sys/dev/block/${deviceName(stat.rdev)}/size`, "utf8")) * 512;
  } catch (error) {
    throw new RefusedError(`${name}: its size can't be read: ${reason(error)}`);
  }
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EACCES" || code === "EPERM") return "permission denied; run mkfs as a user who may write to it";
  return code === "EIO" ? "can't be read (input/output error)" : message;
}
