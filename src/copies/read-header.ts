// The node header of an open device, which is kept twice. Invariant: I12 (it is verified before use).

import { isZero } from "../base/uuid.ts";
import { type BlockDevice, DeviceError } from "../device/device.ts";
import { FormatError } from "../format/format-error.ts";
import {
  decodeNodeHeader,
  hasNodeHeaderMagic,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
  type NodeHeader,
} from "../format/node-header.ts";
import { CopiesError } from "./errors.ts";

/** The header of a device, from its second place when the first is damaged. */
export async function readNodeHeader(device: BlockDevice): Promise<NodeHeader> {
  let claimed = false;
  let empty = true;
  let reason: string | undefined;
  let cause: DeviceError | undefined;
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
        cause ??= error;
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
  const detail = `both node headers are unusable (${reason ?? "unknown"})`;
  throw new CopiesError("damaged-header", device.name, detail, cause && { cause });
}
