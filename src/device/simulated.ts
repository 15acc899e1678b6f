// A device in memory for tests: repeatable, as synchronous as promises allow, able to fail in every way of the fault
// table, and able to lose whatever was not flushed when the power goes (through its SimulatedDisk).

import type { Clock } from "../base/clock.ts";
import { totalBytes } from "../base/total-bytes.ts";
import { type BlockDevice, DeviceError } from "./device.ts";
import { PagedImage } from "./paged-image.ts";
import { pastEnd } from "./past-end.ts";
import { SECTOR_BYTES, type SimulatedDisk, type WriteEvent } from "./simulated-disk.ts";
import { type Fault, FaultPlan, type FaultyOperation } from "./simulated-faults.ts";

export interface SimulatedDeviceOptions {
  /** What is on it at first; forked, so that several devices can start from one image. */
  readonly image?: PagedImage;
  /** Where writes and flushes are recorded; without it nothing is. */
  readonly disk?: SimulatedDisk;
  readonly clock?: Clock;
  /** How long each operation takes; needs a clock. */
  readonly delayMs?: (operation: FaultyOperation) => number;
  /** Opened for reading only: writes are refused with EROFS. */
  readonly readOnly?: boolean;
  /** Nobody else has it open; true unless said otherwise. */
  readonly exclusive?: boolean;
}

export class SimulatedDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly exclusive: boolean;
  readonly identity: string;
  readonly faults = new FaultPlan();
  /** Calls made so far, by kind. */
  readonly calls = { read: 0, write: 0, flush: 0 };
  /** Bytes those calls asked for, by kind. */
  readonly bytes = { read: 0, write: 0, flush: 0 };
  /** What a read returns now: writes are visible at once, flushed or not. */
  readonly image: PagedImage;
  readonly #disk: SimulatedDisk | undefined;
  readonly #number: number;
  readonly #clock: Clock | undefined;
  readonly #delayMs: ((operation: FaultyOperation) => number) | undefined;
  readonly #readOnly: boolean;
  #unflushed: WriteEvent[] = [];
  #closed = false;

  constructor(name: string, sizeBytes: number, options: SimulatedDeviceOptions = {}) {
    const image = options.image?.fork() ?? new PagedImage(sizeBytes);
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.exclusive = options.exclusive ?? true;
    this.identity = `simulated ${name}`;
    this.#disk = options.disk;
    this.#number = options.disk?.register(image) ?? 0;
    this.image = options.disk === undefined ? image : image.fork();
    this.#clock = options.clock;
    this.#delayMs = options.delayMs;
    this.#readOnly = options.readOnly ?? false;
  }

  /** Arms a fault. */
  fail(fault: Fault): void {
    this.faults.arm(fault);
  }

  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    const lengthBytes = totalBytes(targets);
    return this.#perform("read", offsetBytes, lengthBytes, (effect) => {
      let at = offsetBytes;
      for (const target of targets) {
        this.image.read(at, target);
        if (effect?.kind === "flipped" && effect.byte >= at && effect.byte < at + target.length) {
          target[effect.byte - at] = (target[effect.byte - at] as number) ^ (1 << effect.bit);
        }
        at += target.length;
      }
    });
  }

  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    const lengthBytes = totalBytes(sources);
    if (this.#readOnly)
      return Promise.reject(new DeviceError(this.name, "write", offsetBytes, "EROFS", "opened read-only"));
    let event: WriteEvent | undefined;
    return this.#perform(
      "write",
      offsetBytes,
      lengthBytes,
      () => {
        if (event !== undefined && this.#disk !== undefined) event.doneTick = this.#disk.tick();
      },
      (effect) => {
        const bytes = Buffer.concat(sources);
        if (effect?.kind === "lost") return;
        if (effect?.kind === "flipped") flip(bytes, effect.byte - offsetBytes, effect.bit);
        const at = effect?.kind === "misdirected" ? offsetBytes + effect.byBytes : offsetBytes;
        const torn = effect?.kind === "error" ? (effect.tornSectors ?? 0) * SECTOR_BYTES : bytes.length;
        event = this.#apply(at, bytes.subarray(0, torn));
      },
    );
  }

  flush(): Promise<void> {
    const startTick = this.#disk?.tick() ?? 0;
    return this.#perform("flush", 0, 0, () => {
      this.#disk?.events.push({ kind: "flush", device: this.#number, startTick });
      this.#unflushed = this.#unflushed.filter((write) => write.doneTick > startTick);
    });
  }

  discard(_offsetBytes: number, _lengthBytes: number): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  #apply(offsetBytes: number, bytes: Uint8Array): WriteEvent | undefined {
    if (bytes.length === 0 || offsetBytes < 0 || offsetBytes + bytes.length > this.sizeBytes) return undefined;
    this.image.write(offsetBytes, bytes);
    if (this.#disk === undefined) return undefined;
    const event: WriteEvent = {
      kind: "write",
      device: this.#number,
      offsetBytes,
      bytes,
      doneTick: Infinity,
      orphaned: false,
    };
    this.#disk.events.push(event);
    this.#unflushed.push(event);
    return event;
  }

  /** `start` runs when the operation is issued, `finish` when it resolves; both at once unless there is a delay. */
  #perform(
    operation: FaultyOperation,
    offsetBytes: number,
    lengthBytes: number,
    finish: (effect: Fault["effect"] | undefined) => void,
    start?: (effect: Fault["effect"] | undefined) => void,
  ): Promise<void> {
    this.calls[operation]++;
    this.bytes[operation] += lengthBytes;
    if (this.#closed)
      return Promise.reject(new DeviceError(this.name, operation, offsetBytes, "EBADF", "device is closed"));
    if (!(offsetBytes >= 0) || offsetBytes + lengthBytes > this.sizeBytes)
      return Promise.reject(pastEnd(this, operation, offsetBytes, lengthBytes));
    const effect = this.faults.next(operation, offsetBytes, lengthBytes);
    if (effect?.kind === "late") {
      return effect.until.then(() => {
        start?.(undefined);
        finish(undefined);
      });
    }
    start?.(effect);
    if (effect?.kind === "hang") return new Promise(() => undefined);
    const delayMs = this.#delayMs?.(operation) ?? 0;
    const complete = (): Promise<void> => {
      if (effect?.kind === "error") {
        if (operation === "flush") for (const write of this.#unflushed) write.orphaned = true;
        return Promise.reject(new DeviceError(this.name, operation, offsetBytes, effect.code));
      }
      finish(effect);
      return Promise.resolve();
    };
    if (delayMs <= 0 || this.#clock === undefined) return complete();
    const clock = this.#clock;
    return new Promise<void>((resolve) => clock.after(delayMs, resolve)).then(complete);
  }
}

function flip(bytes: Uint8Array, byte: number, bit: number): void {
  if (byte >= 0 && byte < bytes.length) bytes[byte] = (bytes[byte] as number) ^ (1 << bit);
}
