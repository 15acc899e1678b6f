// What was thrown: an Error in practice, though the language lets it be anything.

/** Its message, for people. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Its message as one line, as every command ends with. */
export function lineOf(error: unknown): string {
  return messageOf(error).replaceAll(/\s*\n\s*/g, " ");
}

/** Where it came from, for a log. */
export function traceOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** Itself if it is an Error, else one that says it. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
