// The exit code of a command that works on copies, from what went wrong.

import { isSyntax } from "../copies/errors.ts";
import { DeviceError } from "../device/device.ts";
import { MountExit } from "./messages.ts";

/** 1 for words that mean nothing, 2 for a device that does not do as told, 32 for everything refused. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof DeviceError) return MountExit.SYSTEM;
  return isSyntax(error) ? MountExit.USAGE : MountExit.FAILURE;
}
