// The end of a command. A call on a device that does not answer holds a thread, and Node would wait for that thread when it ends:
// a command that has given such a device up, and said so, must not hang on it after all.

import koffi from "koffi";

const exitAtOnce = koffi.load(null).func("void _exit(int status)") as (status: number) => void;

/** Resolves when all that was printed is out, or nobody reads it. */
function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.once("error", () => resolve());
    stream.write("", () => resolve());
  });
}

/** Ends the process with `process.exitCode`, whatever calls are still under way, as soon as what was printed is out. */
export async function leave(): Promise<void> {
  await Promise.all([drained(process.stdout), drained(process.stderr)]);
  const code = Number(process.exitCode ?? 0);
  process.emit("exit", code);
  exitAtOnce(code);
}
