// Whole blocks of file data that are written when they arrive, each to its own new place, ahead of the commit. The record
// of the operation names them instead of repeating what is in them; replaying it adopts them where they are.

/** A block of one data window, as long as the window. */
export interface EarlyBlock {
  /** Byte of the file at which it begins. */
  readonly key: number;
  /** Its place on each copy, in KiB, 0 for none. */
  readonly pointers: readonly number[];
  /** The 32 bytes of its check code, of the kind that the volume gives to new blocks. */
  readonly check: Uint8Array;
}
