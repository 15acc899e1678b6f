// Opens a remote node, or asks whether it could be: where the client is needed (see open.ts).

import { type Clock, SystemClock } from "../base/clock.ts";
import { toHex } from "../base/uuid.ts";
import { sha256 } from "../format/check.ts";
import { POLICY_DEFAULT } from "./client/policy.ts";
import { Routes } from "./client/routes.ts";
import type { RemoteOptions } from "./open.ts";
import { RemoteNode } from "./remote-node.ts";
import type { RemoteTarget } from "./target.ts";

const OWNER_BYTES = 16;
const ANSWER_MS = 2000;

/** Opens `target`. `secret`: what the names under which its server knows us are made of. Rejects with DeviceError. */
export function openRemote(
  target: RemoteTarget,
  secret: Uint8Array,
  writable: boolean,
  options: RemoteOptions,
): Promise<RemoteNode> {
  return RemoteNode.open(target, {
    // A program that waits for a server to come back must not end meanwhile.
    clock: options.clock ?? new SystemClock(true),
    policy: { ...POLICY_DEFAULT, ...options.policy },
    observer: options.observer ?? (() => undefined),
    owner: ownerOf(secret, target.text),
    writable,
  });
}

/** Another one for each name: under two of them we are two clients of one export, and the second is refused. */
const ownerOf = (secret: Uint8Array, name: string): string =>
  toHex(sha256(secret, Buffer.from(name)).subarray(0, OWNER_BYTES));

/** Whether a server answers for the export, by any of its addresses. */
export async function serverAnswers(target: RemoteTarget, clock: Clock): Promise<boolean> {
  const routes = new Routes(target, { clock, lease: { kind: "reader" } });
  const answers = await Promise.all(routes.addresses.map((address) => routes.answers(address, ANSWER_MS)));
  routes.close();
  return answers.includes(true);
}
