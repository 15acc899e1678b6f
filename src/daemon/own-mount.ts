// The mount of one supervisor in the mount table. Anybody may unmount it, lazily while programs still use it, and mount something else
// on the same folder: so it is known by its device number, and nothing else is ever taken off.

import { messageOf } from "../base/thrown.ts";
import { abortAndUnmount, unmount } from "../fuse/kernel/mount.ts";
import { mountedFileSystems } from "../base/mounted-filesystems.ts";
import { mountedVolumeAt } from "./mount-table.ts";
import { MountError } from "./start-mount.ts";

/** Throws {@link MountError} when an h2ts volume is mounted on `directory` (absolute, resolved), which the operator calls `name`. */
export function refuseOccupied(directory: string, name = directory): void {
  const occupant = mountedVolumeAt(directory);
  if (occupant) throw new MountError(`${name}: an h2ts volume (${occupant.source}) is already mounted here`);
}

export class OwnMount {
  readonly directory: string;
  /** As in the name of the control socket. */
  readonly deviceKey: string;
  /** One after the other: whoever comes next has to see that it is off, or would take off what was below. */
  #turns: Promise<unknown> = Promise.resolve();

  private constructor(directory: string, deviceKey: string) {
    this.directory = directory;
    this.deviceKey = deviceKey;
  }

  /**
   * The one of `source` that was just made on `directory` (absolute, resolved); undefined when the mount table has none. To be called
   * in the turn that made it: another one may come on top at any time.
   */
  static on(directory: string, source: string): OwnMount | undefined {
    const mount = mountedVolumeAt(directory, source);
    return mount && new OwnMount(directory, mount.deviceKey);
  }

  /** The part of its device number by which the kernel knows it as a connection. */
  get deviceMinor(): string {
    return this.deviceKey.replace(/^.*-/, "");
  }

  /** Whether it is what programs find on its folder, has something on top of it, or was unmounted. */
  get standing(): "topmost" | "covered" | "gone" {
    const here = mountedFileSystems().filter(({ directory }) => directory === this.directory);
    const own = here.findLastIndex(({ device }) => device.replace(":", "-") === this.deviceKey);
    if (own < 0) return "gone";
    return own < here.length - 1 ? "covered" : "topmost";
  }

  /**
   * Takes it out of the tree of folders; those who use it may finish. Resolves to a line that says why it was left alone, if it was.
   */
  detach(): Promise<string | undefined> {
    return this.#takeOff((directory) => unmount(directory, true));
  }

  /** As `detach`, when nobody serves those who use it any more. */
  abort(): Promise<string | undefined> {
    return this.#takeOff(abortAndUnmount);
  }

  #takeOff(by: (directory: string) => Promise<void>): Promise<string | undefined> {
    const turn = this.#turns.then(() => this.#takeOffNow(by));
    this.#turns = turn.catch(() => undefined);
    return turn;
  }

  async #takeOffNow(by: (directory: string) => Promise<void>): Promise<string | undefined> {
    const { standing } = this;
    if (standing === "gone")
      return `${this.directory} is unmounted already; it ends when the last program lets go of it`;
    if (standing === "covered") return `${this.directory} can't be unmounted: something else is mounted on it`;
    return by(this.directory).then(
      () => undefined,
      (error: unknown) => `${this.directory} can't be unmounted: ${messageOf(error)}`,
    );
  }
}
