// One thing that is served: a device under a name, with what may be done to it and who may do it.
// Invariants: I1 (a flush is one that began after it was asked for), I11 (the lease).

import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { BlockDevice } from "../../device/device.ts";
import { TransmissionFlag } from "../wire/constants.ts";
import type { BlockSizes } from "../wire/info.ts";
import { Lease } from "./lease.ts";
import type { LeaseRecord } from "./lease-record.ts";
import { PAYLOAD_MAX_BYTES } from "./limits.ts";
import { ReadBuffers } from "./read-buffers.ts";

export interface ExportOptions {
  readonly readOnly: boolean;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly record: LeaseRecord;
}

export class Export {
  readonly name: string;
  #device: BlockDevice;
  #isAway = false;
  readonly readOnly: boolean;
  readonly lease: Lease;
  readonly buffers = new ReadBuffers();
  readonly blockSizes: BlockSizes = {
    minimumBytes: 1,
    preferredBytes: 64 * 1024,
    maximumBytes: PAYLOAD_MAX_BYTES,
  };
  /** The flush that has not begun, and who waits for it: all who ask before it does. */
  #next: Promise<void> | undefined;
  #running: Promise<void> = Promise.resolve();
  #flushFailures = 0;

  constructor(name: string, device: BlockDevice, { readOnly, leaseMs, clock, random, record }: ExportOptions) {
    this.name = name;
    this.#device = device;
    this.readOnly = readOnly;
    this.lease = new Lease({ clock, random, keepMs: leaseMs, record });
  }

  get device(): BlockDevice {
    return this.#device;
  }

  /** Its device is gone: nobody is let in before it is opened again. */
  get isAway(): boolean {
    return this.#isAway;
  }

  /** The device was given up. Whoever had written there can't know what of it is left, nor that it stays as it is (I2, I11). */
  lose(): void {
    this.#isAway = true;
    this.#flushFailures++;
    this.lease.revoke();
  }

  /** The device was opened again. Connections of before never reach it. */
  regain(device: BlockDevice): void {
    this.#device = device;
    this.#isAway = false;
  }

  /** For people, in lists and infos. */
  get description(): string {
    return `h2ts export of ${this.device.sizeBytes} bytes${this.readOnly ? ", read-only" : ""}`;
  }

  /**
   * TransmissionFlag for a connection. Several are promised to be as good as one only to those who may have several: all use one
   * device, so a flush covers what was answered on any of them.
   */
  flagsFor({ readOnly, several, structured }: { readOnly: boolean; several: boolean; structured: boolean }): number {
    const { HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF, CAN_MULTI_CONN } =
      TransmissionFlag;
    let flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA;
    flags |= readOnly ? READ_ONLY : SEND_TRIM | SEND_WRITE_ZEROES;
    if (several) flags |= CAN_MULTI_CONN;
    if (structured) flags |= SEND_DF;
    return flags;
  }

  /** How often a flush has failed: whoever wrote before that can't know what of it is there, whatever later flushes say (I2). */
  get flushFailures(): number {
    return this.#flushFailures;
  }

  /** Makes everything that was written before this call durable. Those who ask while a flush runs share the next one. */
  flush(): Promise<void> {
    this.#next ??= this.#afterRunning();
    return this.#next;
  }

  async #afterRunning(): Promise<void> {
    // How the one before ended is told to those who waited for that.
    await this.#running.catch(() => undefined);
    this.#next = undefined;
    const running = this.device.flush();
    this.#running = running;
    try {
      await running;
    } catch (error) {
      this.#flushFailures++;
      throw error;
    }
  }
}
