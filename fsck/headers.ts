// Node headers, which every device keeps twice: a damaged one is written again from the other.

import { type BlockDevice, DeviceError } from "../src/device/device.ts";
import { FormatError } from "../src/format/format-error.ts";
import {
  decodeNodeHeader,
  encodeNodeHeader,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
} from "../src/format/node-header.ts";
import { equalBytes } from "../src/base/uuid.ts";
import { readNodeHeader } from "../src/copies/assemble.ts";
import type { FindingList } from "./finding-list.ts";

/** Why the header at `offsetBytes` is not what the device's good one says; undefined when it is. */
async function headerFault(device: BlockDevice, offsetBytes: number): Promise<string | undefined> {
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  try {
    await device.read(offsetBytes, [bytes]);
    decodeNodeHeader(bytes, offsetBytes, device.name, device.sizeBytes);
    const expected = encodeNodeHeader(await readNodeHeader(device), offsetBytes);
    return equalBytes(bytes, expected) ? undefined : `${device.name}: the two node headers differ`;
  } catch (error) {
    if (error instanceof FormatError || error instanceof DeviceError) return error.message;
    throw error;
  }
}

/** Checks both headers of every device. */
export async function checkHeaders(devices: readonly BlockDevice[], list: FindingList): Promise<void> {
  for (const device of devices) {
    for (const offsetBytes of NODE_HEADER_OFFSETS) {
      const fault = await headerFault(device, offsetBytes);
      if (fault !== undefined) list.add("node-header", fault, { repair: { kind: "headers" } });
    }
  }
}

/** Writes every faulty header again from the good one, flushes, and reads it back. */
export async function rewriteHeaders(devices: readonly BlockDevice[]): Promise<void> {
  for (const device of devices) {
    for (const offsetBytes of NODE_HEADER_OFFSETS) {
      if ((await headerFault(device, offsetBytes)) === undefined) continue;
      await device.write(offsetBytes, [encodeNodeHeader(await readNodeHeader(device), offsetBytes)]);
      await device.flush();
      const fault = await headerFault(device, offsetBytes);
      if (fault !== undefined) throw new DeviceError(device.name, "write", offsetBytes, "EIO", `read back: ${fault}`);
    }
  }
}
