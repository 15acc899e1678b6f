// A device at the other end of a network: to everything above it is a device like any other that can be away for longer.
// Requests are cut to what the server takes. Where it works in larger units than bytes, a write of less reads the rest of the
// units it touches first; h2ts itself writes whole KiB, so a server that wants more than that is refused.

import { settle } from "../base/settle.ts";
import { totalBytes } from "../base/total-bytes.ts";
import {
  type BlockDevice,
  DeviceError,
  type DeviceExtent,
  type DeviceOperation,
  type DeviceReport,
} from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import { pastEnd } from "../device/past-end.ts";
import { writeZeros } from "../device/sparse.ts";
import { readsAsZero } from "./wire/chunk.ts";
import { TransmissionFlag } from "./wire/constants.ts";
import { FIRST_SLOT } from "./wire/lease-context.ts";
import { Link } from "./client/link.ts";
import { Routes } from "./client/routes.ts";
import { slicesOf } from "./client/read-reply.ts";
import { offers } from "./client/terms.ts";
import type { LinkOptions } from "./client/way.ts";
import type { RemoteTarget } from "./target.ts";

/** Blocks of h2ts are no smaller: writing one never touches its neighbour's units. */
const MINIMUM_MAX_BYTES = 1024;
/** A request is no longer, even where the server would take it: others wait behind it. */
const REQUEST_MAX_BYTES = 4 * 1024 * 1024;
/** The same for requests without data. */
const SPAN_BYTES = 128 * 1024 * 1024;

export interface RemoteNodeOptions extends Omit<LinkOptions, "name"> {
  /** What a server of ours knows us by: the same for all who act for one mount, and known to nobody else. */
  readonly owner: string;
}

export class RemoteNode implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  /** A server of ours lets nobody else write; others know no such promise. */
  readonly exclusive: boolean;
  readonly patienceMs: number;
  readonly link: Link;
  readonly #writable: boolean;
  readonly #unitBytes: number;
  readonly #requestBytes: number;
  /** Writes that read first follow one another: two of them may touch the same unit. */
  #mending: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(link: Link, { writable, policy }: RemoteNodeOptions) {
    const { sizeBytes, minimumBytes, maximumBytes } = link.terms;
    this.name = link.name;
    this.exclusive = link.terms.lease !== undefined;
    this.link = link;
    this.#writable = writable;
    this.patienceMs = policy.timeoutMs;
    this.#unitBytes = minimumBytes;
    this.#requestBytes = Math.min(maximumBytes, REQUEST_MAX_BYTES);
    this.sizeBytes = sizeBytes - (sizeBytes % minimumBytes);
  }

  /** Opens the export of `target`. Rejects with DeviceError: ENOTCONN when no address of it answers. */
  static async open(target: RemoteTarget, options: RemoteNodeOptions): Promise<RemoteNode> {
    const name = target.text;
    const { clock, owner, writable } = options;
    const lease = writable ? ({ kind: "owner", owner, slot: FIRST_SLOT } as const) : ({ kind: "reader" } as const);
    const link = await Link.open(new Routes(target, { clock, lease }), { ...options, name });
    if (link.terms.minimumBytes > MINIMUM_MAX_BYTES) {
      await link.close();
      const detail = `its server works in units of ${link.terms.minimumBytes} bytes; h2ts needs ${MINIMUM_MAX_BYTES} or less`;
      throw new OpenError(name, "open", "ENOTSUP", detail);
    }
    return new RemoteNode(link, options);
  }

  /** How far away it is, in milliseconds there and back. */
  get distanceMs(): number {
    return this.link.counters.roundTripMs;
  }

  /** Until it is closed, given up or not. */
  get isOpen(): boolean {
    return this.#closed === undefined;
  }

  report(): DeviceReport {
    const { state, address, addresses, connections, requests, counters } = this.link;
    const { count: inFlight } = requests;
    const { bytes: unflushedBytes } = requests.kept;
    const { resent, reconnects, roundTripMs, lastError } = counters;
    const told = { state, address, addresses, connections, inFlight, unflushedBytes, resent, reconnects, roundTripMs };
    return { kind: "remote", connection: { ...told, ...(lastError !== undefined && { lastError }) } };
  }

  writeUntil(untilMs: number): void {
    this.link.tenure.writableUntilMs = untilMs;
  }

  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    const lengthBytes = totalBytes(targets);
    const refusal = this.#refusal("read", offsetBytes, lengthBytes);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (lengthBytes === 0) return Promise.resolve();
    const { from, to } = this.#units(offsetBytes, lengthBytes);
    const request = (at: number, length: number, parts: readonly Uint8Array[]): Promise<void> =>
      this.link.requests.read(at, length, parts);
    if (to - from === lengthBytes) return this.#cut(from, to, targets, request);
    const before = new Uint8Array(offsetBytes - from);
    const after = new Uint8Array(to - offsetBytes - lengthBytes);
    return this.#cut(from, to, [before, ...targets, after], request);
  }

  write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    const lengthBytes = totalBytes(sources);
    const refusal = this.#refusal("write", offsetBytes, lengthBytes);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (lengthBytes === 0) return Promise.resolve();
    const { from, to } = this.#units(offsetBytes, lengthBytes);
    if (to - from === lengthBytes) return this.#writeUnits(from, to, sources);
    const mended = this.#mending.then(() => this.#mend(from, to, offsetBytes, sources));
    this.#mending = mended.catch(() => undefined);
    return mended;
  }

  async #mend(from: number, to: number, offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    const units = new Uint8Array(to - from);
    await this.read(from, [units]);
    let at = offsetBytes - from;
    for (const source of sources) {
      units.set(source, at);
      at += source.length;
    }
    await this.#writeUnits(from, to, [units]);
  }

  #writeUnits(from: number, to: number, sources: readonly Uint8Array[]): Promise<void> {
    return this.#cut(from, to, sources, (at, length, parts) => this.link.requests.write(at, length, parts));
  }

  flush(): Promise<void> {
    return this.#writable ? this.link.requests.flush() : Promise.resolve();
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.#writable || !(offsetBytes >= 0) || offsetBytes + lengthBytes > this.sizeBytes) return;
    const unit = this.#unitBytes;
    const from = Math.ceil(offsetBytes / unit) * unit;
    const to = Math.floor((offsetBytes + lengthBytes) / unit) * unit;
    const trims = spans(from, to).map(([at, end]) => this.link.requests.discard(at, end - at));
    await Promise.allSettled(trims);
  }

  async zero(offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void> {
    const refusal = this.#refusal("zero", offsetBytes, lengthBytes);
    if (refusal !== undefined) throw refusal;
    const { from, to } = this.#units(offsetBytes, lengthBytes);
    if (to - from !== lengthBytes || !offers(this.link.terms, TransmissionFlag.SEND_WRITE_ZEROES))
      return writeZeros(offsetBytes, lengthBytes, (at, zeros) => this.write(at, [zeros]));
    await settle(spans(from, to).map(([at, end]) => this.link.requests.zero(at, end - at, keepRoom)));
  }

  async extents(offsetBytes: number, lengthBytes: number, countMax: number): Promise<DeviceExtent[]> {
    const refusal = this.#refusal("map", offsetBytes, lengthBytes);
    if (refusal !== undefined) throw refusal;
    const { from, to } = this.#units(offsetBytes, lengthBytes);
    const [span] = spans(from, to);
    const found = span === undefined ? [] : await this.link.requests.extents(span[0], span[1] - span[0]);
    const extents: DeviceExtent[] = [];
    let at = from;
    for (const extent of found.slice(0, countMax)) {
      // The server may tell of what lies before and behind as well.
      const start = Math.max(at, offsetBytes);
      const end = Math.min(at + extent.lengthBytes, offsetBytes + lengthBytes);
      at += extent.lengthBytes;
      if (start < end) extents.push({ lengthBytes: end - start, isHole: readsAsZero(extent.flags) });
    }
    // What nothing is told of is data.
    return extents.length > 0 ? extents : [{ lengthBytes, isHole: false }];
  }

  /** Waits for what is under way. Closing twice is closing once. */
  close(): Promise<void> {
    this.#closed ??= this.link.close();
    return this.#closed;
  }

  #units(offsetBytes: number, lengthBytes: number): { readonly from: number; readonly to: number } {
    const unit = this.#unitBytes;
    return {
      from: offsetBytes - (offsetBytes % unit),
      to: Math.ceil((offsetBytes + lengthBytes) / unit) * unit,
    };
  }

  /** Carries a long request out in parts, and waits for all of them: no part is left behind a rejected call. */
  async #cut(
    from: number,
    to: number,
    buffers: readonly Uint8Array[],
    request: (offsetBytes: number, lengthBytes: number, parts: readonly Uint8Array[]) => Promise<void>,
  ): Promise<void> {
    if (to - from <= this.#requestBytes) return request(from, to - from, buffers);
    const calls: Promise<void>[] = [];
    for (let at = from; at < to; at += this.#requestBytes) {
      const lengthBytes = Math.min(this.#requestBytes, to - at);
      calls.push(request(at, lengthBytes, slicesOf(buffers, at - from, at - from + lengthBytes)));
    }
    await settle(calls);
  }

  #refusal(operation: DeviceOperation, offsetBytes: number, lengthBytes: number): DeviceError | undefined {
    const refuse = (code: string, detail: string): DeviceError =>
      new DeviceError(this.name, operation, offsetBytes, code, detail);
    if (this.#closed !== undefined) return refuse("EBADF", "device is closed");
    if ((operation === "write" || operation === "zero") && !this.#writable) return refuse("EROFS", "opened read-only");
    if (offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return undefined;
    return pastEnd(this, operation, offsetBytes, lengthBytes);
  }
}

/** A range in pieces that a server is through with in time. */
function spans(from: number, to: number): [from: number, to: number][] {
  const pieces: [number, number][] = [];
  for (let at = from; at < to; at += SPAN_BYTES) pieces.push([at, Math.min(to, at + SPAN_BYTES)]);
  return pieces;
}
