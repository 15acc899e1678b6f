// Node headers, which every device keeps twice: a damaged one is written again from the other. One that still lists a copy that
// has left the volume, beside others that have not, is written again without it.

import { type BlockDevice, DeviceError } from "../src/device/device.ts";
import { FormatError } from "../src/format/format-error.ts";
import {
  decodeNodeHeader,
  encodeNodeHeader,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
  type NodeHeader,
  type NodeRange,
} from "../src/format/node-header.ts";
import { type TimeLimit, withinLimit } from "../src/base/time-limit.ts";
import { equalBytes } from "../src/base/uuid.ts";
import { readNodeHeader } from "../src/copies/read-header.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import type { FindingList } from "./finding-list.ts";

/** The headers of a volume's devices. One that does not answer is given up, like its copy (I9), and not asked again. */
export class Headers {
  readonly #copies: CopySet;
  readonly #devices: readonly BlockDevice[];
  readonly #limit: TimeLimit;
  readonly #silent = new Set<BlockDevice>();

  /** `copies`: those of the volume on these devices. `limit`: how long a device may take to give a header, or take one. */
  constructor(copies: CopySet, devices: readonly BlockDevice[], limit: TimeLimit) {
    this.#copies = copies;
    this.#devices = devices;
    this.#limit = limit;
  }

  /** Checks both headers of every device. */
  async check(list: FindingList): Promise<void> {
    for (const device of this.#devices) {
      for (const offsetBytes of NODE_HEADER_OFFSETS) {
        const fault = this.#silent.has(device) ? undefined : await this.#fault(device, offsetBytes);
        if (fault !== undefined) list.add("node-header", fault, { repair: { kind: "headers" } });
      }
      if (this.#silent.has(device)) list.add("copy-failed", `${device.name}: its headers were not checked: no answer`);
    }
  }

  /** Writes every faulty header again from the good one, flushes, and reads it back. */
  async rewrite(): Promise<void> {
    for (const device of this.#devices) {
      for (const offsetBytes of NODE_HEADER_OFFSETS) {
        if (this.#silent.has(device) || (await this.#fault(device, offsetBytes)) === undefined) continue;
        await this.#inTime(device, this.#rewrite(device, offsetBytes));
        const fault = await this.#fault(device, offsetBytes);
        if (fault !== undefined) throw new DeviceError(device.name, "write", offsetBytes, "EIO", `read back: ${fault}`);
      }
    }
  }

  /** Why the header at `offsetBytes` is not what the device's good one says, or should say; undefined when it is. */
  async #fault(device: BlockDevice, offsetBytes: number): Promise<string | undefined> {
    try {
      return await this.#inTime(device, this.#faultIn(device, offsetBytes));
    } catch (error) {
      if (this.#silent.has(device)) return undefined;
      if (error instanceof FormatError || error instanceof DeviceError) return error.message;
      throw error;
    }
  }

  /** The only device is waited for as long as it takes. */
  #inTime<T>(device: BlockDevice, work: Promise<T>): Promise<T> {
    if (this.#devices.length === 1) return work;
    work.catch(() => undefined);
    const limit = { ...this.#limit, ms: Math.max(this.#limit.ms, device.patienceMs ?? 0) };
    return withinLimit(work, limit, () => {
      this.#silent.add(device);
      return new DeviceError(device.name, "read", 0, "ETIMEDOUT", `no answer within ${limit.ms} ms`);
    });
  }

  async #faultIn(device: BlockDevice, offsetBytes: number): Promise<string | undefined> {
    const bytes = new Uint8Array(NODE_HEADER_BYTES);
    await device.read(offsetBytes, [bytes]);
    const { ranges } = decodeNodeHeader(bytes, offsetBytes, device.name, device.sizeBytes);
    const right = this.#right(await readNodeHeader(device));
    if (equalBytes(bytes, encodeNodeHeader(right, offsetBytes))) return undefined;
    const left = ranges.find((range) => this.#hasLeft(range));
    return left === undefined
      ? `${device.name}: the two node headers differ`
      : `${device.name}: the node header at byte ${offsetBytes} lists a copy ${left.copyIndex} that has left the volume`;
  }

  async #rewrite(device: BlockDevice, offsetBytes: number): Promise<void> {
    await device.write(offsetBytes, [encodeNodeHeader(this.#right(await readNodeHeader(device)), offsetBytes)]);
    await device.flush();
  }

  /** What a header should say that lists these ranges: not what whoever opened the device found to have left the volume. */
  #right(header: NodeHeader): NodeHeader {
    const ranges = header.ranges.filter((range) => !this.#hasLeft(range));
    return ranges.length === 0 ? header : { ...header, ranges };
  }

  #hasLeft({ copyIndex, copyUuid }: NodeRange): boolean {
    return this.#copies.leftRanges.some(({ index, uuid }) => index === copyIndex && equalBytes(uuid, copyUuid));
  }
}
