// How long a remote node may be away, and what is kept for it meanwhile.

export interface RemotePolicy {
  /** So often in a row a connection is tried anew while requests wait. */
  readonly retryCount: number;
  /** A request is answered within this time, whatever has to be tried for that, or the node is given up. */
  readonly timeoutMs: number;
  /** The same for opening the node, when nobody waits yet; each address may take so long. */
  readonly openMs: number;
  /** So many bytes of writes may be answered and not flushed; reaching it forces a flush. */
  readonly keptBytesMax: number;
}

export const RETRY_COUNT_DEFAULT = 100;
export const TIMEOUT_MS_DEFAULT = 5000;

export const POLICY_DEFAULT: RemotePolicy = {
  retryCount: RETRY_COUNT_DEFAULT,
  timeoutMs: TIMEOUT_MS_DEFAULT,
  openMs: 10_000,
  keptBytesMax: 64 * 1024 * 1024,
};

const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 1000;

/** How long to wait before the next round after `failed` of them failed. */
export function backoffMs(failed: number): number {
  return failed === 0 ? 0 : Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (failed - 1));
}
