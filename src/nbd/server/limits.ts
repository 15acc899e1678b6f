// What a server spends on its clients at most: memory, connections and patience (I12).

/** No READ or WRITE is longer: what clients assume of a server that says nothing. */
export const PAYLOAD_MAX_BYTES = 32 * 1024 * 1024;
/** No option of a client has more data. */
export const OPTION_DATA_MAX_BYTES = 64 * 1024;
/** Stretches of a BLOCK_STATUS reply. */
export const EXTENTS_MAX = 512;

export interface ServerLimits {
  /**
   * Connections of all clients together that have an export open; no further one gets to open any. As many may be about it: of
   * those the oldest is hung up on when another one comes.
   */
  readonly connectionsMax: number;
  /** Requests under way on one connection; further ones are not read. */
  readonly requestsMax: number;
  /** Data of requests under way on one connection; one request alone may have PAYLOAD_MAX_BYTES. */
  readonly payloadMaxBytes: number;
  /** From connecting to the first request. */
  readonly handshakeMs: number;
  /** How long a peer may leave a message unfinished, or a reply untaken. */
  readonly stallMs: number;
  /** How long the lease of an owner whose connections broke is kept. */
  readonly leaseMs: number;
  /** How long a draining server waits for requests under way and for clients to take their replies. */
  readonly drainMs: number;
  /** How long it waits for the flush of an export then. */
  readonly flushMs: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  connectionsMax: 64,
  requestsMax: 64,
  payloadMaxBytes: 32 * 1024 * 1024,
  handshakeMs: 20_000,
  stallMs: 60_000,
  leaseMs: 20_000,
  drainMs: 10_000,
  flushMs: 60_000,
};
