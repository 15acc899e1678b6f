// A command given wrongly: every program has an exit code of its own for that.

/** The operator used a command or an option wrongly; the message is one line that names it. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
