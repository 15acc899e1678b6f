// Starts the supervisor of a mount as a process of its own and waits until the mount is live or has failed.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { MountExit, StartReport, type MountRequest } from "./messages.ts";

/** A mount failed: one line for the operator, and the exit code that goes with it. */
export class MountError extends Error {
  override readonly name = "MountError";
  readonly exitCode: number;

  constructor(message: string, exitCode: number = MountExit.FAILURE) {
    super(message);
    this.exitCode = exitCode;
  }
}

// It waits, mostly: memory kept for garbage to come would never be used.
const V8_OPTIONS = ["--max-semi-space-size=1"];
// One that closes the descriptor of a device that hangs is lost to it: those may be half of them (kept-devices.ts).
const THREADS = "64";
const SUPERVISOR = fileURLToPath(new URL("../daemon/supervisor-main.js", import.meta.url));

/** Resolves with warnings when programs can use the mount; the daemon then runs on alone. Throws {@link MountError}. */
export async function startDetached(request: MountRequest): Promise<readonly string[]> {
  // The directory on the command line is for whoever reads `ps`; the request itself goes over the channel.
  const child = spawn(process.execPath, [...V8_OPTIONS, SUPERVISOR, request.directory], {
    detached: true,
    cwd: "/",
    env: { ...process.env, UV_THREADPOOL_SIZE: THREADS },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let lastWords = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    lastWords = (lastWords + text).slice(-4096);
  });
  const report = await new Promise<StartReport>((resolve) => {
    const fail = (message: string): void => resolve({ type: "failed", message, exitCode: MountExit.SYSTEM });
    child.on("error", (error) => fail(`the daemon can't be started: ${error.message}`));
    child.on("exit", (code, signal) => {
      const detail = lastWords.trim().split("\n").at(-1) ?? "";
      fail(`the daemon ended while starting (${signal ?? `exit code ${code}`})${detail === "" ? "" : `: ${detail}`}`);
    });
    child.on("message", (message) => {
      const parsed = StartReport.safeParse(message);
      if (parsed.success) resolve(parsed.data);
    });
    // One that could not be started may have no channel.
    if (child.pid !== undefined) child.send(request);
  });
  if (child.connected) child.disconnect();
  child.stderr?.destroy();
  child.unref();
  if (report.type === "failed") throw new MountError(report.message, report.exitCode);
  return report.warnings;
}
