// What is wrong with a device that can't be opened, or with its name; apart from opening, for those who only read names.

import { DeviceError, type DeviceOperation } from "./device.ts";

/** A device could not be opened. Its message is one line: the name and what is the matter. */
export class OpenError extends DeviceError {
  constructor(device: string, operation: DeviceOperation, code: string, detail: string) {
    super(device, operation, 0, code, detail);
    this.message = `${device}: ${detail}`;
  }
}
