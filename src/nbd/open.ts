// Opens the node that a target names, wherever it is: a path through src/device, an export of a server through here.
// Everything that takes targets opens them by an opener like this one.

import { type Clock, SystemClock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import { toHex } from "../base/uuid.ts";
import type { BlockDevice } from "../device/device.ts";
import { OpenError, openNode } from "../device/open.ts";
import { sha256 } from "../format/check.ts";
import type { NodeObserver } from "./client/events.ts";
import { POLICY_DEFAULT, type RemotePolicy } from "./client/policy.ts";
import { Routes } from "./client/routes.ts";
import { DeviceLeaseRecord } from "./server/lease-record.ts";
import { RemoteNode } from "./remote-node.ts";
import { isRemoteTarget, parseRemoteTarget } from "./target.ts";

const OWNER_BYTES = 16;

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
  const open = new Map<string, RemoteNode>();
  return async (node, { writable }) => {
    if (!isRemoteTarget(node)) return openHere(node, writable);
    const target = parseRemoteTarget(node);
    // By the same name, to the server it would be one client that comes back: our other connection would be cut.
    if (open.get(target.text)?.isOpen === true)
      throw new OpenError(target.text, "lock", "EBUSY", "already in use (by this mount)");
    const remote = await RemoteNode.open(target, {
      // A program that waits for a server to come back must not end meanwhile.
      clock: options.clock ?? new SystemClock(true),
      policy: { ...POLICY_DEFAULT, ...options.policy },
      observer: options.observer ?? (() => undefined),
      owner: ownerOf(secret, target.text),
      writable,
    });
    open.set(target.text, remote);
    return remote;
  };
}

/** Another one for each name: under two of them we are two clients of one export, and the second is refused. */
const ownerOf = (secret: Uint8Array, name: string): string =>
  toHex(sha256(secret, Buffer.from(name)).subarray(0, OWNER_BYTES));

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

const ANSWER_MS = 2000;

/** Whether a server answers for the export of a remote node, by any of its addresses. Nothing is opened there. */
export async function answersFor(node: string, clock: Clock): Promise<boolean> {
  const target = parseRemoteTarget(node);
  const routes = new Routes(target, { clock, lease: { kind: "reader" } });
  const answers = await Promise.all(routes.addresses.map((address) => routes.answers(address, ANSWER_MS)));
  routes.close();
  return answers.includes(true);
}

/** For programs that only want a node opened. */
export const openDevice: OpenDevice = deviceOpener();
