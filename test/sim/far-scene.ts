// Images on servers of others, which several hosts reach under virtual time: each of them mounts what it likes, and what nothing but a
// heartbeat guards (I11) can be looked at from outside.

import { expect } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { isZero } from "../../src/base/uuid.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { type BlockDevice, DeviceError, type DeviceOperation } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../../src/format/heartbeat.ts";
import {
  decodeNodeHeader,
  encodeNodeHeader,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
  type NodeHeader,
} from "../../src/format/node-header.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { MIB } from "../model/simulated-volume.ts";
import { Host, Network } from "./hosts.ts";
import { within } from "./virtual-time.ts";

/** Longer than whatever is waited for here. */
export const LONG_MS = 10 * LEASE_MS_DEFAULT;
/** So long a claim settles. */
export const SETTLE_MS = LEASE_MS_DEFAULT / 10;

/** Remote names: no file is looked for, which would take real time. */
const NAME = "nbd://far/";
export const nameOf = (index: number): string => `${NAME}${index}`;

export interface FarMount {
  readonly copies: CopySet;
  readonly volume: Volume;
  readonly caretaker: Caretaker;
}

export class Far {
  readonly clock = new SimulatedClock();
  readonly network: Network;
  readonly #devices: SimulatedDevice[] = [];
  readonly #hosts: Host[] = [];
  /** Ends the connections of the first host to a device. */
  readonly #cuts: (() => void)[] = [];

  /** `delayMsMax`: of each way. */
  constructor(images: readonly (PagedImage | undefined)[], seed: number, delayMsMax = 5) {
    this.network = new Network(this.clock, new SeededRandom(seed), delayMsMax);
    for (const image of images) this.provide(image!.sizeBytes, image);
  }

  /** One more device; where it is. */
  provide(sizeBytes: number, image?: PagedImage): number {
    const index = this.#devices.length;
    return this.#devices.push(new SimulatedDevice(nameOf(index), sizeBytes, image && { image })) - 1;
  }

  #host(name: string): Host {
    const known = this.#hosts.find((host) => host.name === name);
    if (known !== undefined) return known;
    const host = new Host(name, this.clock);
    this.#hosts.push(host);
    return host;
  }

  open(name: string, index: number): BlockDevice {
    const device = this.network.attach(this.#host(name), this.#devices[index]!);
    let isCut = false;
    if (name === "a") this.#cuts[index] = () => (isCut = true);
    const unlessCut = (operation: DeviceOperation, call: () => Promise<void>): Promise<void> =>
      isCut ? Promise.reject(new DeviceError(device.name, operation, 0, "ENOTCONN")) : call();
    return {
      ...device,
      read: (...given) => unlessCut("read", () => device.read(...given)),
      write: (...given) => unlessCut("write", () => device.write(...given)),
      flush: () => unlessCut("flush", () => device.flush()),
    };
  }

  /** `rows`: the nodes of each copy. */
  async mount(name: string, rows: readonly (readonly number[])[]): Promise<FarMount> {
    const { clock } = this.#host(name);
    const targets = rows.map((row) => ({
      name: row.map(nameOf).join("+"),
      devices: row.map((index) => this.open(name, index)),
    }));
    const copies = await within(this.clock, LONG_MS, assembleCopies(targets, { clock }));
    const open = (node: string): Promise<BlockDevice> =>
      Promise.resolve(this.open(name, Number(node.slice(NAME.length))));
    Object.assign(copies, { open });
    const random = new SeededRandom(name.charCodeAt(0));
    const options = { clock, random, cacheBytes: 8 * MIB, commitMs: 0, degraded: true };
    const volume = await within(this.clock, LONG_MS, openVolume(copies, options));
    const caretaker = new Caretaker(volume, { clock });
    caretaker.start();
    await within(this.clock, LONG_MS, caretaker.settled());
    return { copies, volume, caretaker };
  }

  async pass(durationMs: number): Promise<void> {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 100) await this.clock.advance(100);
  }

  done<T>(work: Promise<T>): Promise<T> {
    return within(this.clock, LONG_MS, work);
  }

  /** The server of a copy is away until the copy was dropped. */
  async outage({ copies, volume }: FarMount, index: number): Promise<void> {
    this.#cuts[index]!();
    await this.pass(LEASE_MS_DEFAULT / 2);
    await this.done(volume.forceCommit());
    expect(copies.copy(index)?.standing).toBe("faulted");
  }

  async unmount({ volume, caretaker }: FarMount): Promise<void> {
    await this.done(caretaker.close());
    await this.done(volume.close());
  }

  beatOn(index: number): Uint8Array {
    const bytes = new Uint8Array(HEARTBEAT_BYTES);
    this.#devices[index]!.image.read(NODE_HEADER_AREA_BYTES + HEARTBEAT_OFFSET_BYTES, bytes);
    return bytes;
  }

  putBeat(index: number, bytes: Uint8Array): void {
    this.#devices[index]!.image.write(NODE_HEADER_AREA_BYTES + HEARTBEAT_OFFSET_BYTES, bytes);
  }

  /** Changes what both headers of a device say. */
  putHeader(index: number, changes: Partial<NodeHeader>): void {
    const { name, sizeBytes, image } = this.#devices[index]!;
    const bytes = new Uint8Array(NODE_HEADER_BYTES);
    image.read(0, bytes);
    const header = { ...decodeNodeHeader(bytes, 0, name, sizeBytes), ...changes };
    for (const at of NODE_HEADER_OFFSETS) image.write(at, encodeNodeHeader(header, at));
  }

  async beats(index: number): Promise<boolean> {
    const before = this.beatOn(index);
    await this.pass(LEASE_MS_DEFAULT / 2);
    const after = this.beatOn(index);
    return !isZero(after) && Buffer.compare(before, after) !== 0;
  }
}
