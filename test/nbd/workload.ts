// A little work on a device that nobody may see fail, whatever happens to the server, and what must be there afterwards.

import { expect } from "vitest";
import type { BlockDevice } from "../../src/device/device.ts";
import type { ScriptedPeer } from "./scripted-peer.ts";

export const BLOCK_BYTES = 4096;

export const block = (fill: number): Uint8Array => new Uint8Array(BLOCK_BYTES).fill(fill);

export async function readBlock(device: BlockDevice, offsetBytes: number): Promise<Uint8Array> {
  const target = block(0xee);
  await device.read(offsetBytes, [target]);
  return target;
}

/** Writes, overwrites, flushes and reads on a device that nobody may see fail; what must be there in the end. */
export async function workload(device: BlockDevice): Promise<void> {
  await Promise.all([1, 2, 3].map((i) => device.write(i * BLOCK_BYTES, [block(i)])));
  await device.flush();
  await device.write(BLOCK_BYTES, [block(11)]);
  await Promise.all([device.write(BLOCK_BYTES, [block(12)]), device.write(7 * BLOCK_BYTES, [block(7)])]);
  await device.discard(32 * BLOCK_BYTES, BLOCK_BYTES);
  expect([...(await readBlock(device, 2 * BLOCK_BYTES))].every((byte) => byte === 2)).toBe(true);
  await device.flush();
  await device.write(3 * BLOCK_BYTES, [block(13)]);
  expect([...(await readBlock(device, 3 * BLOCK_BYTES))].every((byte) => byte === 13)).toBe(true);
  await device.flush();
  await device.close();
}

export function expectResult(of: ScriptedPeer): void {
  const found = [0, 1, 2, 3, 4, 7].map((i) => of.content(true)[i * BLOCK_BYTES]);
  expect(found).toEqual([0, 12, 2, 13, 0, 7]);
}
