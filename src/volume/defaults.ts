// How much memory a volume takes and how often it commits, unless told otherwise. In a file of their own because a mount says the
// same, and whoever only reads its options loads nothing of a volume.

/** Bytes of blocks kept in memory. */
export const CACHE_BYTES_DEFAULT = 256 * 1024 * 1024;
/** Longest time between a change and the commit that makes it durable. */
export const COMMIT_MS_DEFAULT = 5000;
