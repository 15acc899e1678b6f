// A part of a device as a device of its own: one node of one copy. A device can hold nodes of several copies; it is
// closed when the last of its ranges is.
// Invariant I2: a flush that failed has failed for every range of the device. The system tells it once, to whoever asks first, and
// calls the pages that it lost clean from then on, whichever range they belong to.

import { totalBytes } from "../base/total-bytes.ts";
import { NODE_HEADER_AREA_BYTES } from "../format/geometry.ts";
import { type BlockDevice, ContentLostError, DeviceError, type DeviceReport } from "./device.ts";
import type { Gate } from "./gate.ts";
import { pastEnd } from "./past-end.ts";

/** Counts who holds a device, so that several ranges can share it, and what every one of them has to be told. */
export class SharedDevice {
  readonly device: BlockDevice;
  #holders = 0;
  /** Until when each range in use may be written to (I11). */
  readonly #untilMs = new Map<Range, number>();
  /** Flushes that failed, and why the last one did. That content was lost is not forgotten for a later failure of another kind. */
  #lost: { readonly count: number; readonly error: unknown } = { count: 0, error: undefined };
  readonly #flushes = new Set<Promise<void>>();

  constructor(device: BlockDevice) {
    this.device = device;
  }

  hold(): void {
    this.#holders++;
  }

  get holders(): number {
    return this.#holders;
  }

  /** How often a flush has failed so far, and why. */
  get lost(): { readonly count: number; readonly error: unknown } {
    return this.#lost;
  }

  /** Makes a call that flushes; resolves, however it ends, when it and all that were under way with it are over. */
  async flushing(flush: () => Promise<void>): Promise<void> {
    const done: Promise<void> = flush()
      .catch((error: unknown) => this.#noteLost(error))
      .finally(() => this.#flushes.delete(done));
    this.#flushes.add(done);
    await done;
    // Another one may have been told what this one was to be told, and not be back yet to say so.
    await Promise.all(this.#flushes);
  }

  #noteLost(error: unknown): void {
    const { count, error: known } = this.#lost;
    this.#lost = { count: count + 1, error: known instanceof ContentLostError ? known : error };
  }

  /** The device may be written to as long as every range in use: the heartbeat of one is what it is locked by. */
  writeUntil(range: Range, untilMs: number): void {
    this.#untilMs.set(range, untilMs);
    this.#limit();
  }

  /** What is out of use holds up nobody; but the limit of the last one goes on for what it may still send. */
  leaveLimit(range: Range): void {
    if (this.#untilMs.delete(range)) this.#limit();
  }

  #limit(): void {
    if (this.#untilMs.size > 0) this.device.writeUntil?.(Math.min(...this.#untilMs.values()));
  }

  /** Closes the device if no range holds it. */
  async discard(): Promise<void> {
    if (this.#holders === 0) await this.device.close();
  }

  /** Gives up one hold; the last one closes the device. */
  async release(range: Range): Promise<void> {
    this.leaveLimit(range);
    this.#holders--;
    if (this.#holders === 0) await this.device.close();
  }
}

export class Range implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly exclusive: boolean;
  readonly startBytes: number;
  readonly #shared: SharedDevice;
  readonly #device: BlockDevice;
  #closed: Promise<void> | undefined;
  /** Failed flushes of the device that this range was told of. */
  #toldCount: number;
  /** Those before whoever has the range began anew. */
  #oldCount: number;

  constructor(shared: SharedDevice, startBytes: number, sizeBytes: number) {
    this.name = shared.device.name;
    this.exclusive = shared.device.exclusive;
    this.startBytes = startBytes;
    this.sizeBytes = sizeBytes;
    this.#shared = shared;
    this.#device = shared.device;
    this.#toldCount = this.#oldCount = shared.lost.count;
    shared.hold();
    if (startBytes < 0 || sizeBytes <= 0 || startBytes + sizeBytes > shared.device.sizeBytes) {
      throw new DeviceError(
        this.name,
        "open",
        startBytes,
        "EINVAL",
        `a range of ${sizeBytes} bytes does not fit on the device`,
      );
    }
  }

  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    const refusal = this.#refusal("read", offsetBytes, targets);
    return refusal === undefined ? this.#device.read(this.startBytes + offsetBytes, targets) : Promise.reject(refusal);
  }

  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    const refusal = this.#refusal("write", offsetBytes, sources);
    return refusal === undefined ? this.#device.write(this.startBytes + offsetBytes, sources) : Promise.reject(refusal);
  }

  flush(): Promise<void> {
    return this.#flushing(() => this.#device.flush());
  }

  /** Each range is told of every failure once, as if it had a descriptor of its own. */
  async #flushing(flush: () => Promise<void>): Promise<void> {
    await this.#shared.flushing(flush);
    const { count, error } = this.#shared.lost;
    if (count === this.#toldCount) return;
    this.#toldCount = count;
    throw error;
  }

  /** What was flushed since whoever has the range began may be gone, told of that or not. */
  get lostContent(): boolean {
    const { count, error } = this.#shared.lost;
    return count !== this.#oldCount && error instanceof ContentLostError;
  }

  /** Whoever has the range begins anew and counts on nothing unflushed: of flushes that failed until now it is not told. */
  startAnew(): void {
    this.#toldCount = this.#oldCount = this.#shared.lost.count;
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    await this.#device.discard(this.startBytes + offsetBytes, lengthBytes);
  }

  async prepare(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    await this.#flushing(async () => this.#device.prepare?.(this.startBytes + offsetBytes, lengthBytes));
  }

  get distanceMs(): number | undefined {
    return this.#device.distanceMs;
  }

  get patienceMs(): number | undefined {
    return this.#device.patienceMs;
  }

  report(): DeviceReport | undefined {
    return this.#device.report?.();
  }

  shareThreads(row: Gate): void {
    this.#device.shareThreads?.(row);
  }

  writeUntil(untilMs: number): void {
    if (this.#closed === undefined) this.#shared.writeUntil(this, untilMs);
  }

  /** Its copy is out of use: see SharedDevice. */
  leaveLimit(): void {
    this.#shared.leaveLimit(this);
  }

  /** Wipes what says to whom the device belongs, which lies before the range; not where other ranges are open on it. */
  async disown(): Promise<void> {
    if (this.isShared || this.#closed !== undefined) return;
    await this.#device.write(0, [new Uint8Array(NODE_HEADER_AREA_BYTES)]);
    await this.flush();
  }

  /** Other ranges are open on the same device. */
  get isShared(): boolean {
    return this.#closed === undefined && this.#shared.holders > 1;
  }

  /** True when `other` is an open range of the same device, as this one is. */
  isBeside(other: BlockDevice): boolean {
    if (!(other instanceof Range) || other.#shared !== this.#shared) return false;
    return this.#closed === undefined && other.#closed === undefined;
  }

  /** The device that the range is a part of: for its node headers. */
  get whole(): BlockDevice {
    return this.#device;
  }

  close(): Promise<void> {
    this.#closed ??= this.#shared.release(this);
    return this.#closed;
  }

  #refusal(operation: "read" | "write", offsetBytes: number, buffers: readonly Uint8Array[]): DeviceError | undefined {
    const lengthBytes = totalBytes(buffers);
    if (this.#closed !== undefined)
      return new DeviceError(this.name, operation, offsetBytes, "EBADF", "device is closed");
    if (offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return undefined;
    return pastEnd(this, operation, offsetBytes, lengthBytes);
  }
}
