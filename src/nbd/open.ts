// Opens the node that a target names, wherever it is: a path through src/device, an export of a server through here.
// Everything that takes targets opens them by an opener like this one. The client is loaded with the first remote node (but
// by workers, which have it from the beginning: tools/bundle.ts): most commands, and whoever waits for one to start, know paths only.

import type { Clock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import type { BlockDevice } from "../device/device.ts";
import { openNode } from "../device/open.ts";
import { OpenError } from "../device/open-error.ts";
import type { NodeObserver } from "./client/events.ts";
import type { RemotePolicy } from "./client/policy.ts";
import { DeviceLeaseRecord } from "./server/lease-record.ts";
import { isRemoteTarget, parseRemoteTarget } from "./target.ts";

export interface OpenDeviceOptions {
  readonly writable: boolean;
}

/** Opens one node. Rejects with DeviceError; the codes are those of openNode, and ENOTCONN where nobody answers. */
export type OpenDevice = (node: string, options: OpenDeviceOptions) => Promise<BlockDevice>;

export interface RemoteOptions {
  readonly clock?: Clock;
  readonly policy?: Partial<RemotePolicy>;
  /** A secret that all processes of one mount share, by which a server of ours knows them; a new one unless given. */
  readonly owner?: Uint8Array | undefined;
  /** Told of everything that happens to remote nodes. */
  readonly observer?: NodeObserver;
}

/** An opener that treats remote nodes as told. */
export function deviceOpener(options: RemoteOptions = {}): OpenDevice {
  const secret = options.owner ?? new SystemRandom().bytes(32);
  /** Those that are being opened as well. */
  const open = new Map<string, { readonly isOpen: boolean }>();
  return async (node, { writable }) => {
    if (!isRemoteTarget(node)) return openHere(node, writable);
    const target = parseRemoteTarget(node);
    // By the same name, to the server it would be one client that comes back: our other connection would be cut.
    if (open.get(target.text)?.isOpen === true)
      throw new OpenError(target.text, "lock", "EBUSY", "already in use (by this mount)");
    open.set(target.text, { isOpen: true });
    try {
      const { openRemote } = await import("./open-remote.ts");
      const remote = await openRemote(target, secret, writable, options);
      open.set(target.text, remote);
      return remote;
    } catch (error) {
      open.delete(target.text);
      throw error;
    }
  };
}

/** What a client of a server that serves this device knows of it need not be so any more when we have written there. */
async function openHere(path: string, writable: boolean): Promise<BlockDevice> {
  const node = await openNode(path, { writable });
  if (!writable) return node;
  try {
    new DeviceLeaseRecord([node.incarnation]).forget();
    return node;
  } catch (error) {
    await node.close();
    const { code = "EIO" } = error as NodeJS.ErrnoException;
    throw new OpenError(path, "open", code, "the lease that a server left of it can't be taken away");
  }
}

/** Whether a server answers for the export of a remote node, by any of its addresses. Nothing is opened there. */
export async function answersFor(node: string, clock: Clock): Promise<boolean> {
  const target = parseRemoteTarget(node);
  const { serverAnswers } = await import("./open-remote.ts");
  return serverAnswers(target, clock);
}

/** For programs that only want a node opened. */
export const openDevice: OpenDevice = deviceOpener();
