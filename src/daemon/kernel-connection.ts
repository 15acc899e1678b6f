// The supervisor's hold on /dev/fuse. Root opens the device first and mounts when the volume is open, so that a mistake
// never shows in the mount table; for an ordinary user fusermount3 does both at once, before the worker starts.

import { closeSync } from "node:fs";
import { messageOf } from "../base/thrown.ts";
import { abort } from "../fuse/kernel/abort.ts";
import { mount, mountsByItself, openDevice } from "../fuse/kernel/mount.ts";
import { JOURNAL_BYTES } from "../log/journal.ts";
import { MountExit, type MountRequest } from "./messages.ts";
import { allWords } from "./mount-options.ts";
import { KeptDevices } from "./kept-devices.ts";
import { OwnMount, refuseOccupied } from "./own-mount.ts";
import { createSharedMemory } from "./shared-memory.ts";
import { MountError } from "./start-mount.ts";

export class KernelConnection {
  /** Handed to each worker. While the supervisor holds it too, the mount outlives the worker. */
  readonly fuseFd: number;
  /** Where workers leave what they completed to those after them. */
  readonly memoryFd: number;
  readonly devices: KeptDevices;
  readonly #request: MountRequest;
  #mount: OwnMount | undefined;
  #closed = false;

  private constructor(request: MountRequest, held: { readonly memoryFd: number; readonly devices: KeptDevices }) {
    this.#request = request;
    this.memoryFd = held.memoryFd;
    this.devices = held.devices;
    if (mountsByItself()) this.fuseFd = openDevice();
    else ({ fd: this.fuseFd, own: this.#mount } = mountOwn(request));
  }

  /** Throws {@link MountError}. */
  static open(request: MountRequest): KernelConnection {
    return orMountError(() => {
      // An ordinary user's mount comes last: whatever fails before leaves none behind.
      const memoryFd = createSharedMemory(JOURNAL_BYTES);
      const devices = new KeptDevices();
      try {
        return new KernelConnection(request, { memoryFd, devices });
      } catch (error) {
        closeSync(memoryFd);
        devices.close();
        throw error;
      }
    });
  }

  /** Puts the mount in the mount table, unless it is there. Throws {@link MountError}. */
  mount(): void {
    this.#mount ??= orMountError(() => mountOwn(this.#request, this.fuseFd).own);
  }

  /** The mount, once it is in the mount table. */
  get own(): OwnMount | undefined {
    return this.#mount;
  }

  /**
   * Takes the mount away again after a failed start; nobody can be using it. Resolves to a line that says why it was left alone, if it
   * was.
   */
  async abandon(): Promise<string | undefined> {
    // Closed first: requests waiting for an answer are aborted instead of holding the unmount up.
    const free = this.close();
    const refusal = await this.#mount?.detach();
    await free;
    return refusal;
  }

  /** Requests end with an error, whoever is inside a call on the device: for a mount that nobody serves any more. */
  abort(deviceMinor: string): void {
    if (!this.#closed) abort(this.fuseFd, deviceMinor);
  }

  /** Resolves when the devices are free, or hang. */
  close(): Promise<void> {
    if (!this.#closed) {
      for (const fd of [this.fuseFd, this.memoryFd]) closeSync(fd);
      this.devices.close();
    }
    this.#closed = true;
    return this.devices.closed();
  }
}

/**
 * Mounts, and finds out in the same turn which mount that is. Looks once more whether the folder is free: another command may have looked
 * at the same time.
 */
function mountOwn(request: MountRequest, device?: number): { readonly fd: number; readonly own: OwnMount } {
  const { directory, source } = request;
  refuseOccupied(directory);
  const { fd } = mount(mountWords(request), device);
  const own = OwnMount.on(directory, source);
  if (own !== undefined) return { fd, own };
  if (device === undefined) closeSync(fd);
  throw new Error(`${directory}: the mount does not show in the mount table`);
}

function mountWords({ source, directory, options }: MountRequest): Parameters<typeof mount>[0] {
  const words = allWords(options);
  return {
    source,
    directory,
    options: words,
    ...(options.allowOther === undefined ? {} : { allowOther: options.allowOther }),
  };
}

function orMountError<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw error instanceof MountError ? error : new MountError(messageOf(error), MountExit.SYSTEM);
  }
}
