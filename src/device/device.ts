// The contract every device keeps: image file, block device, row of nodes, and the simulated one in tests.
// test/contract/device.ts holds the suite that proves it.

import type { Gate } from "./gate.ts";

/** What was being done when a device failed. */
export type DeviceOperation = "open" | "lock" | "read" | "write" | "flush" | "discard" | "zero" | "map" | "close";

/** A device said no. `code` is the system's error name (EIO, ENOSPC, …), `device` what the operator called it. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  readonly device: string;
  readonly operation: DeviceOperation;
  readonly offsetBytes: number;
  readonly code: string;

  constructor(device: string, operation: DeviceOperation, offsetBytes: number, code: string, detail?: string) {
    super(`${device}: ${operation} at byte ${offsetBytes} failed: ${detail ?? code}`);
    this.device = device;
    this.operation = operation;
    this.offsetBytes = offsetBytes;
    this.code = code;
  }
}

/** What the device held is gone, or parts of it: nothing flushed earlier can be counted on any more. */
export class ContentLostError extends DeviceError {}

/** A stretch of a device: data, or a hole, which reads as zero. */
export interface DeviceExtent {
  readonly lengthBytes: number;
  readonly isHole: boolean;
}

/** What a device is made of, and how it goes with it, for people. */
export interface DeviceReport {
  readonly kind: "file" | "block device" | "remote";
  /** Of a remote one. */
  readonly connection?: ConnectionReport;
}

export interface ConnectionReport {
  readonly state: "connected" | "reconnecting" | "given-up" | "closed";
  /** The one in use, or used last, and all there are. */
  readonly address: string;
  readonly addresses: readonly string[];
  /** Open to it now. */
  readonly connections: number;
  /** Requests without an answer. */
  readonly inFlight: number;
  /** Written, answered, and not flushed yet. */
  readonly unflushedBytes: number;
  /** Since the device was opened: requests and unflushed writes sent again, and connections that took another's place. */
  readonly resent: number;
  readonly reconnects: number;
  readonly roundTripMs: number;
  readonly lastError?: string;
}

/**
 * A linear, writable range of bytes. Calls may overlap in time; overlapping ranges in flight are the caller's mistake.
 * A resolved `write` is not durable until a `flush` that started after it has resolved (I1, I2).
 */
export interface BlockDevice {
  /** What the operator called it, for messages. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Nobody else can open it for writing while it is open here: it is locked (I11). False where other hosts may reach it. */
  readonly exclusive: boolean;
  /** How far away it is, in milliseconds there and back; undefined: on this machine. */
  readonly distanceMs?: number | undefined;
  /** So long a call may take because the way to the device has to be found anew; undefined: there is no such reason. */
  readonly patienceMs?: number | undefined;
  /** From now on each call takes a place of this gate as well, which all nodes of a row share. For devices whose calls hold threads. */
  shareThreads?(row: Gate): void;
  /** For status; asks nobody. */
  report?(): DeviceReport | undefined;
  /** No write is sent from here, or sent again, later than this by the monotonic clock (I11). For devices that send. */
  writeUntil?(untilMs: number): void;
  /** Fills all `targets`, in order, from consecutive bytes at `offsetBytes`. A short read is an error. */
  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void>;
  /** Writes all `sources`, in order, to consecutive bytes. The caller leaves the bytes alone until it resolves. */
  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void>;
  /** Makes every write that resolved before this call durable. */
  flush(): Promise<void>;
  /** Says that a range holds nothing of value; it may read as zero or as before. A hint: errors are not reported. */
  discard(offsetBytes: number, lengthBytes: number): Promise<void>;
  /**
   * Says that a range, which holds nothing of value, will be written in pieces, each flushed at once: an image file has room made
   * for it beforehand, and may read as zero or as before. Absent where nothing is gained. An error is one of a flush: what was
   * written before may be lost.
   */
  prepare?(offsetBytes: number, lengthBytes: number): Promise<void>;
  /**
   * Makes a range read as zero; `keepRoom`: it keeps its room on the medium. Use `zeroRange`, which does it on any device.
   */
  zero?(offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void>;
  /** Where the data of a range is; use `extentsOf`, which knows an answer for any device. */
  extents?(offsetBytes: number, lengthBytes: number, countMax: number): Promise<DeviceExtent[]>;
  close(): Promise<void>;
}
