// Opens the node that a target names, wherever it is: a path through src/device, an export of a server through here.
// Everything that takes targets opens them by an opener like this one.

import { type Clock, SystemClock } from "../base/clock.ts";
import type { BlockDevice } from "../device/device.ts";
import { openNode } from "../device/open.ts";
import type { NodeObserver } from "./client/events.ts";
import { POLICY_DEFAULT, type RemotePolicy } from "./client/policy.ts";
import { RemoteNode } from "./remote-node.ts";
import { isRemoteTarget, parseRemoteTarget } from "./target.ts";

export interface OpenDeviceOptions {
  readonly writable: boolean;
}

/** Opens one node. Rejects with DeviceError; the codes are those of openNode, and ENOTCONN where nobody answers. */
export type OpenDevice = (node: string, options: OpenDeviceOptions) => Promise<BlockDevice>;

export interface RemoteOptions {
  readonly clock?: Clock;
  readonly policy?: Partial<RemotePolicy>;
  /** Told of everything that happens to remote nodes. */
  readonly observer?: NodeObserver;
}

/** An opener that treats remote nodes as told. */
export function deviceOpener(options: RemoteOptions = {}): OpenDevice {
  return async (node, { writable }) => {
    if (!isRemoteTarget(node)) return openNode(node, { writable });
    return RemoteNode.open(parseRemoteTarget(node), {
      // A program that waits for a server to come back must not end meanwhile.
      clock: options.clock ?? new SystemClock(true),
      policy: { ...POLICY_DEFAULT, ...options.policy },
      observer: options.observer ?? (() => undefined),
      writable,
    });
  };
}

/** For programs that only want a node opened. */
export const openDevice: OpenDevice = deviceOpener();
