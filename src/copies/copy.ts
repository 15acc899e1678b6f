// One copy of the volume at hand: its device, its size, and what went wrong on it.
// Invariant I2: a flush that failed is never taken back; the copy refuses every later write and flush.

import type { Uuid } from "../base/uuid.ts";
import { type BlockDevice, DeviceError, type DeviceOperation } from "../device/device.ts";
import { BLOCK_MAX_KIB, KIB, RING_AREA_KIB } from "../format/geometry.ts";
import type { CopyCounters } from "../format/root-block.ts";

export class Copy {
  readonly index: number;
  readonly uuid: Uuid;
  readonly device: BlockDevice;
  readonly sizeKib: number;
  /** The nodes, as the operator named them. */
  readonly targets: readonly string[];
  readonly errors = { read: 0, write: 0, checksum: 0 };
  repaired = 0;
  #failure: DeviceError | undefined;
  #restored = false;

  constructor(index: number, uuid: Uuid, device: BlockDevice, targets: readonly string[]) {
    this.index = index;
    this.uuid = uuid;
    this.device = device;
    this.sizeKib = Math.floor(device.sizeBytes / KIB);
    this.targets = targets;
  }

  get name(): string {
    return this.targets.join("+");
  }

  /** The failed write or flush after which nothing more is written here. */
  get failure(): DeviceError | undefined {
    return this.#failure;
  }

  /** Goes on counting from what the root remembers; what was counted since this copy was opened is kept. Once only. */
  restoreCounters(known: CopyCounters): void {
    if (this.#restored) return;
    this.#restored = true;
    this.errors.read += known.read;
    this.errors.write += known.write;
    this.errors.checksum += known.checksum;
    this.repaired += known.repaired;
  }

  /** Why a block of `sizeBytes` can't be at `kib`; undefined when it can (I12). */
  placeRefusal(kib: number, sizeBytes: number): string | undefined {
    const sizeKib = sizeBytes / KIB;
    if (!Number.isInteger(sizeKib) || sizeKib < 1 || sizeKib > BLOCK_MAX_KIB || (sizeKib & (sizeKib - 1)) !== 0) {
      return `no block is ${sizeBytes} bytes long`;
    }
    if (kib < RING_AREA_KIB) return "the place lies in the front ring area";
    if (!(kib + sizeKib <= this.sizeKib - RING_AREA_KIB)) return "the place lies past the usable end of the copy";
    if (kib % sizeKib !== 0) return "the place is not aligned to the block's size";
    return undefined;
  }

  /** Writes; resolves to the failure, if any, and counts it. */
  async write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<DeviceError | undefined> {
    if (this.#failure !== undefined) return this.#failure;
    return this.#guarded("write", offsetBytes, () => this.device.write(offsetBytes, sources));
  }

  /** Flushes; resolves to the failure, if any, and counts it. */
  async flush(): Promise<DeviceError | undefined> {
    if (this.#failure !== undefined) return this.#failure;
    return this.#guarded("flush", 0, () => this.device.flush());
  }

  async #guarded(
    operation: DeviceOperation,
    offsetBytes: number,
    call: () => Promise<void>,
  ): Promise<DeviceError | undefined> {
    try {
      await call();
      return undefined;
    } catch (error) {
      this.errors.write++;
      this.#failure ??= asDeviceError(this.name, operation, offsetBytes, error);
      return this.#failure;
    }
  }
}

export function asDeviceError(
  name: string,
  operation: DeviceOperation,
  offsetBytes: number,
  error: unknown,
): DeviceError {
  if (error instanceof DeviceError) return error;
  return new DeviceError(name, operation, offsetBytes, "EIO", error instanceof Error ? error.message : String(error));
}
