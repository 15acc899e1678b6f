// What whoever opens a volume says of completed operations that were in its log and are not in its state (I4 ends there, so nobody may be
// left to find out by himself).

/** One line; the counts and the reason as OpenOptions.onLogDropped is told of them. */
export function logDroppedLine(dropped: number, waiting: number, reason: string): string {
  return `${dropped} of ${waiting} completed operations in the log were given up: ${reason}`;
}
