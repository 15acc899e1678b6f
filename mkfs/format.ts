// Carries a plan out: creates or sizes the image files, clears what other programs would recognise, writes the node
// headers and the empty volume. Every existing target is locked before the first byte changes. When something fails,
// files made here are removed again.

import { rmSync } from "node:fs";
import { SystemClock } from "../src/base/clock.ts";
import type { Random } from "../src/base/random.ts";
import type { Uuid } from "../src/base/uuid.ts";
import { formatCopies } from "../src/copies/layout.ts";
import { closeTargets, openTargets } from "../src/copies/targets.ts";
import type { BlockDevice } from "../src/device/device.ts";
import { createImage, resizeImage } from "../src/device/image-file.ts";
import { KIB } from "../src/format/geometry.ts";
import { formatVolume } from "../src/volume/format-volume.ts";
import type { MkfsOptions } from "./options.ts";
import type { PlannedTarget } from "./plan.ts";

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
    await lockExisting(plan);
    for (const node of plan.flatMap((target) => target.nodes)) {
      if (node.kind === "new file") {
        createImage(node.path, node.sizeBytes);
        created.push(node.path);
      } else if (node.resize) resizeImage(node.path, node.sizeBytes);
    }
    await write(options, plan, volumeUuid, random);
  } catch (error) {
    for (const path of created) rmSync(path, { force: true });
    throw error;
  }
}

const targetName = ({ nodes }: PlannedTarget): string => nodes.map((node) => node.path).join("+");

async function lockExisting(plan: readonly PlannedTarget[]): Promise<void> {
  const existing = plan.flatMap((target) => target.nodes).filter((node) => node.kind !== "new file");
  await closeTargets(
    await openTargets(
      existing.map((node) => node.path),
      { writable: true },
    ),
  );
}

async function write(
  options: MkfsOptions,
  plan: readonly PlannedTarget[],
  volumeUuid: Uuid,
  random: Random,
): Promise<void> {
  const opened = await openTargets(plan.map(targetName), { writable: true });
  try {
    for (const [i, { devices }] of opened.entries()) {
      for (const [n, device] of devices.entries()) {
        // A new file is all zeroes, and stays sparse.
        if (plan[i]?.nodes[n]?.kind !== "new file") await clearEnds(device);
      }
    }
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
  } finally {
    await closeTargets(opened);
  }
}

/** Zeroes both ends. */
async function clearEnds(device: BlockDevice): Promise<void> {
  const zeroes = new Uint8Array(CLEARED_BYTES);
  const lengthBytes = Math.min(zeroes.length, device.sizeBytes);
  await device.write(0, [zeroes.subarray(0, lengthBytes)]);
  await device.write(device.sizeBytes - lengthBytes, [zeroes.subarray(0, lengthBytes)]);
  await device.flush();
}
