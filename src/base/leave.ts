// The end of a command. A call on a device that does not answer holds a thread, and Node would wait for that thread when it ends:
// a command that has given such a device up, and said so, must not hang on it after all.

import koffi from "koffi";
import { drained } from "./output.ts";

const exitNow = koffi.load(null).func("void _exit(int status)") as (status: number) => void;

/** What libuv knows of a stream that is a pipe. */
interface PipeStream extends NodeJS.WriteStream {
  readonly _handle?: { setBlocking?: (on: boolean) => void };
}

const OUTPUTS: readonly PipeStream[] = [process.stdout, process.stderr];

/** Ends the process with `process.exitCode`, whatever calls are still under way, as soon as what was printed is out. */
export async function leave(): Promise<void> {
  await Promise.all(OUTPUTS.map(drained));
  leaveAtOnce();
}

/** As `leave`, with what is printed and not out yet lost. */
export function leaveAtOnce(): void {
  // A pipe may be shared with programs that do not expect it not to block; Node would put that right when it ends by itself.
  for (const { _handle } of OUTPUTS) _handle?.setBlocking?.(true);
  // Else Node takes this for the end of a program that still waited for something, and sets a code of its own.
  process.exitCode ??= 0;
  process.emit("exit", Number(process.exitCode));
  exitNow(Number(process.exitCode));
}
