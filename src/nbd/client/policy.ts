// How long a remote node may be away, what is kept for it meanwhile, and by how many connections it is asked.

import { SLOT_MAX } from "../wire/lease-context.ts";

export interface RemotePolicy {
  /** So often in a row a connection is tried anew while requests wait. */
  readonly retryCount: number;
  /** A request is answered within this time, whatever has to be tried for that, or the node is given up. */
  readonly timeoutMs: number;
  /** The same for opening the node, when nobody waits yet; each address may take so long. */
  readonly openMs: number;
  /** So many bytes of writes may be answered and not flushed; reaching it forces a flush. */
  readonly keptBytesMax: number;
  /** So many connections are made where the server allows for several. */
  readonly connections: number;
}

export const RETRY_COUNT_DEFAULT = 100;
export const TIMEOUT_MS_DEFAULT = 5000;
export const CONNECTIONS_DEFAULT = 1;
/** A server of ours knows no more of one client. */
export const CONNECTIONS_MAX = SLOT_MAX + 1;

export const POLICY_DEFAULT: RemotePolicy = {
  retryCount: RETRY_COUNT_DEFAULT,
  timeoutMs: TIMEOUT_MS_DEFAULT,
  openMs: 10_000,
  keptBytesMax: 64 * 1024 * 1024,
  connections: CONNECTIONS_DEFAULT,
};

/** An attempt at a connection may take this part of the time a request has. */
const ATTEMPT_PART = 4;
const ATTEMPT_MIN_MS = 1000;
/** A new connection may be silent for this part of it. */
const SILENCE_PART = 4;
const SILENCE_MIN_MS = 2000;

/** How long one attempt at a connection may take. */
export const attemptMs = ({ timeoutMs }: RemotePolicy): number => Math.max(ATTEMPT_MIN_MS, timeoutMs / ATTEMPT_PART);

/** How long a new connection may say nothing. */
export const silenceMs = ({ timeoutMs }: RemotePolicy): number => Math.max(SILENCE_MIN_MS, timeoutMs / SILENCE_PART);

/** How long the flush on a new connection may take: nothing is said before it is done, so it has the time of a request. */
export const flushMs = ({ timeoutMs }: RemotePolicy): number => Math.max(SILENCE_MIN_MS, timeoutMs);

const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 1000;

/** How long to wait before the next round after `failed` of them failed. */
export function backoffMs(failed: number): number {
  return failed === 0 ? 0 : Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (failed - 1));
}
