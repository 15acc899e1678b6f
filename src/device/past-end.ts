// What every device answers when it is asked for bytes that it does not have.

import { type BlockDevice, DeviceError, type DeviceOperation } from "./device.ts";

/** The refusal of a call on a range that is not all within the device. */
export function pastEnd(
  { name, sizeBytes }: Pick<BlockDevice, "name" | "sizeBytes">,
  operation: DeviceOperation,
  offsetBytes: number,
  lengthBytes: number,
): DeviceError {
  const detail = `${lengthBytes} bytes reach past the end (${sizeBytes})`;
  return new DeviceError(name, operation, offsetBytes, "EINVAL", detail);
}
