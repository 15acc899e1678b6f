// Assertions stay on in production: a filesystem that has lost track of itself must stop writing, not guess.

/** Thrown when the program contradicts itself. The daemon answers it by going read-only. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws an {@link AssertionError} carrying `message` unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a place the types say can't be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
