// The two ways synchronous code stops short of its end without being wrong: a block is not in memory, or there is no
// room. Both are caught by the engine (src/volume), which loads or commits and runs the operation again.

/** Thrown (always this one object, so it costs no stack trace) after the missing block's load was queued. */
export const MISS: unique symbol = Symbol("a block is not in memory");

/** No room, now: the engine forces commits, which release deferred frees, before it says ENOSPC. */
export class NoSpace extends Error {
  override readonly name = "NoSpace";
}

/** A block that no copy can give back as its parent remembers it, or that breaks the rules of its type (I5, I12). */
export class CorruptBlockStructure extends Error {
  override readonly name = "CorruptBlockStructure";
}
