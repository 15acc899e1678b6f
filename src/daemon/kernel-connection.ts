// The supervisor's hold on /dev/fuse. Root opens the device first and mounts when the volume is open, so that a mistake
// never shows in the mount table; for an ordinary user fusermount3 does both at once, before the worker starts.

import { closeSync } from "node:fs";
import { messageOf } from "../base/thrown.ts";
import { abort } from "../fuse/kernel/abort.ts";
import { mount, mountsByItself, openDevice, unmount } from "../fuse/kernel/mount.ts";
import { JOURNAL_BYTES } from "../log/journal.ts";
import { MountExit, type MountRequest } from "./messages.ts";
import { allWords } from "./mount-options.ts";
import { KeptDevices } from "./kept-devices.ts";
import { createSharedMemory } from "./shared-memory.ts";
import { MountError } from "./start-mount.ts";

export class KernelConnection {
  /** Handed to each worker. While the supervisor holds it too, the mount outlives the worker. */
  readonly fuseFd: number;
  /** Where workers leave what they completed to those after them. */
  readonly memoryFd: number;
  readonly devices: KeptDevices;
  readonly #request: MountRequest;
  #mounted: boolean;
  #closed = false;

  private constructor(request: MountRequest, held: { readonly memoryFd: number; readonly devices: KeptDevices }) {
    this.#request = request;
    this.memoryFd = held.memoryFd;
    this.devices = held.devices;
    this.#mounted = !mountsByItself();
    this.fuseFd = this.#mounted ? mount(mountWords(request)).fd : openDevice();
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
    if (this.#mounted) return;
    orMountError(() => mount(mountWords(this.#request), this.fuseFd));
    this.#mounted = true;
  }

  /** Takes the mount away again after a failed start; nobody can be using it. */
  async abandon(): Promise<void> {
    // Closed first: requests waiting for an answer are aborted instead of holding the unmount up.
    const free = this.close();
    if (this.#mounted) await unmount(this.#request.directory, true).catch(() => {});
    await free;
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
    throw new MountError(messageOf(error), MountExit.SYSTEM);
  }
}
