// The life of a supervisor, in a process of its own or in the foreground of `h2ts mount --foreground`.

import { isatty } from "node:tty";
import { leave } from "../base/leave.ts";
import { messageOf } from "../base/thrown.ts";
import { DaemonLog } from "./daemon-log.ts";
import { MountExit, type MountRequest, type StartReport } from "./messages.ts";
import { MountError } from "./start-mount.ts";
import { Supervisor } from "./supervisor.ts";
import { tellParent } from "./tell-parent.ts";

const now = (): Date => new Date();

/**
 * Calls `stop` at each signal that asks for the end. A hangup does so only to a process that has a terminal: to a daemon it says nothing.
 */
function onSignal(stop: () => void): void {
  const hasTerminal = [0, 1, 2].some((fd) => isatty(fd));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  process.on("SIGHUP", () => hasTerminal && stop());
}

/** Resolves when a signal asks for the end. To be called before anything is begun that would be left behind. */
function stopAsked(): Promise<void> {
  return new Promise((resolve) => onSignal(resolve));
}

async function live(supervisor: Supervisor, log: DaemonLog, asked: Promise<void>): Promise<number> {
  const stop = (): void => supervisor.stop();
  void asked.then(() => {
    stop();
    // What could not be unmounted at first may be by now.
    onSignal(stop);
  });
  const { error } = await supervisor.ended;
  await supervisor.close();
  if (error !== undefined) log.line(`ending: ${error}`);
  return error === undefined ? MountExit.OK : MountExit.FAILURE;
}

// Nothing that goes wrong in here may take a working mount down with it.
function survive(log: DaemonLog): void {
  process.on("uncaughtException", (error) => log.line(`supervisor: ${error.stack ?? error.message}`));
  process.on("unhandledRejection", (error) => log.line(`supervisor: ${String(error)}`));
}

/** Runs a mount to its end, logging to stderr. Throws {@link MountError} when it can't start. */
export async function superviseInForeground(request: MountRequest): Promise<void> {
  const asked = stopAsked();
  const { logPath } = request.options;
  const log = logPath === undefined ? DaemonLog.toStderr(now) : openLog(logPath);
  const supervisor = await Supervisor.start(request, log, asked);
  survive(log);
  process.exitCode = await live(supervisor, log, asked);
}

function openLog(path: string): DaemonLog {
  try {
    return DaemonLog.toFile(path, now);
  } catch (error) {
    throw new MountError(`log=${path}: ${messageOf(error)}`, MountExit.SYSTEM);
  }
}

/** Runs a mount to its end and ends the process; tells who started it when programs can use the mount, or why they can't. */
export async function superviseDetached(request: MountRequest): Promise<void> {
  const report: (message: StartReport) => Promise<void> = tellParent;
  // Who started it waits until it is told how that went: before, it goes away only when it is interrupted.
  let isTold = false;
  const isLeft = new Promise<void>((resolve) => process.once("disconnect", () => isTold || resolve()));
  const asked = Promise.race([stopAsked(), isLeft]);
  let supervisor: Supervisor;
  let log: DaemonLog;
  try {
    const { logPath } = request.options;
    log = logPath === undefined ? DaemonLog.inMemory(now) : openLog(logPath);
    supervisor = await Supervisor.start(request, log, asked);
  } catch (error) {
    const known = error instanceof MountError;
    await report({ type: "failed", message: messageOf(error), exitCode: known ? error.exitCode : MountExit.SYSTEM });
    process.exitCode = MountExit.FAILURE;
    return leave();
  }
  survive(log);
  isTold = process.connected;
  await report({ type: "ready", warnings: [...supervisor.warnings] });
  process.exitCode = await live(supervisor, log, asked);
  // Not by process.exit, which would wait for the thread that closes the descriptor of a device that hangs.
  await leave();
}
