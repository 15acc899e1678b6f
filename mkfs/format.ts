// Carries a plan out: creates or sizes the image files, clears what other programs would recognise, writes the node
// headers and the empty volume. Every existing target is locked, and looked at once more, before the first byte of any changes, and
// stays locked until all is done; one that can't be locked is refused where another host has it mounted (I11). When something fails, files
// made here are removed again.

import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { SystemClock } from "../src/base/clock.ts";
import type { Random } from "../src/base/random.ts";
import type { Uuid } from "../src/base/uuid.ts";
import { refuseInUse } from "../src/copies/in-use.ts";
import { formatCopies } from "../src/copies/layout.ts";
import { closeTargets, type OpenTarget, openTargets } from "../src/copies/targets.ts";
import type { BlockDevice } from "../src/device/device.ts";
import { FileNode } from "../src/device/file-node.ts";
import { createImage } from "../src/device/image-file.ts";
import { KIB } from "../src/format/geometry.ts";
import { formatVolume } from "../src/volume/format-volume.ts";
import type { MkfsOptions } from "./options.ts";
import { type PlannedNode, type PlannedTarget, refuseHeldNow } from "./plan.ts";

/** Signatures of others, and old rings of ours, lie near both ends of a device. */
const CLEARED_BYTES = 1024 * KIB;
const FORMAT_CACHE_BYTES = 32 * 1024 * KIB;

/** Makes the volume; it is durable when this resolves. */
export async function format(
  options: MkfsOptions,
  plan: readonly PlannedTarget[],
  volumeUuid: Uuid,
  random: Random,
): Promise<void> {
  const created: string[] = [];
  try {
    for (const node of plan.flatMap((target) => target.nodes)) {
      if (node.kind !== "new file") continue;
      createImage(node.path, node.sizeBytes);
      created.push(node.path);
    }
    const opened = await openTargets(plan.map(targetName), { writable: true });
    try {
      const existing = existingIn(plan, opened);
      for (const { node, device } of existing) if (!options.force) await refuseHeldNow(node, device);
      await refuseInUse(
        existing.map(({ device }) => device),
        { wait: (durationMs) => sleep(durationMs), ...(!options.quiet && { onWatch: sayWatched }) },
      );
      for (const { node, device } of existing)
        if (node.resize && device instanceof FileNode) await device.resize(node.sizeBytes);
      for (const { device } of existing) await clearEnds(device);
      await write(options, plan, opened, volumeUuid, random);
    } finally {
      await closeTargets(opened);
    }
  } catch (error) {
    for (const path of created) rmSync(path, { force: true });
    throw error;
  }
}

/** Otherwise nobody would know why nothing happens for so long. */
function sayWatched(names: readonly string[], durationMs: number): void {
  const what = "a host has, or had, this mounted";
  console.error(`mkfs.h2ts: ${names.join(", ")}: ${what}; watching for ${durationMs / 1000} s whether it still has`);
}

const targetName = ({ nodes }: PlannedTarget): string => nodes.map((node) => node.path).join("+");

interface OpenPlanned {
  readonly node: PlannedNode;
  readonly device: BlockDevice;
}

/** A new file is all zeroes, and stays sparse. */
function existingIn(plan: readonly PlannedTarget[], opened: readonly OpenTarget[]): OpenPlanned[] {
  const devices = opened.flatMap((target) => target.devices);
  const nodes = plan.flatMap((target) => target.nodes);
  return nodes
    .map((node, i) => ({ node, device: devices[i] as BlockDevice }))
    .filter(({ node }) => node.kind !== "new file");
}

async function write(
  options: MkfsOptions,
  plan: readonly PlannedTarget[],
  opened: readonly OpenTarget[],
  volumeUuid: Uuid,
  random: Random,
): Promise<void> {
  const targets = opened.map((target, i) => ({ ...target, copies: plan[i]?.copies ?? 1 }));
  const copies = await formatCopies(targets, { volumeUuid, label: options.label, random });
  const volume = await formatVolume(copies, {
    volumeUuid,
    label: options.label,
    checkType: options.checkType,
    random,
    clock: new SystemClock(),
    cacheBytes: FORMAT_CACHE_BYTES,
    commitMs: 0,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
  });
  await volume.close();
}

/** Zeroes both ends. */
async function clearEnds(device: BlockDevice): Promise<void> {
  const zeroes = new Uint8Array(CLEARED_BYTES);
  const lengthBytes = Math.min(zeroes.length, device.sizeBytes);
  await device.write(0, [zeroes.subarray(0, lengthBytes)]);
  await device.write(device.sizeBytes - lengthBytes, [zeroes.subarray(0, lengthBytes)]);
  await device.flush();
}
