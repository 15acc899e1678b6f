// Whether a request can be carried out at all, from what it says alone (I12).

import { Command, CommandFlag, WireError } from "../wire/constants.ts";
import type { Request } from "../wire/request.ts";
import type { OpenExport } from "./agreement.ts";
import { PAYLOAD_MAX_BYTES } from "./limits.ts";

export interface RequestRefusal {
  /** One of WireError. */
  readonly error: number;
  readonly message: string;
}

const { FUA, NO_HOLE, DF, REQ_ONE } = CommandFlag;

/** Flags that each command takes; commands that are not here are not known. */
const FLAGS: Readonly<Record<number, number>> = {
  [Command.READ]: FUA | DF,
  [Command.WRITE]: FUA,
  [Command.FLUSH]: FUA,
  [Command.TRIM]: FUA,
  [Command.WRITE_ZEROES]: FUA | NO_HOLE,
  [Command.BLOCK_STATUS]: FUA | REQ_ONE,
};

const CHANGING: ReadonlySet<number> = new Set([Command.WRITE, Command.TRIM, Command.WRITE_ZEROES]);

/** Undefined when it can be. A refused WRITE still has its data behind it. */
export function refusalOf(request: Request, opened: OpenExport): RequestRefusal | undefined {
  const { command, flags, offsetBytes, lengthBytes } = request;
  const known = FLAGS[command];
  if (known === undefined) return invalid(`command ${command} is not known`);
  if ((flags & ~known) !== 0) return invalid(`flags 0x${flags.toString(16)} on command ${command}`);
  if (command === Command.FLUSH) return undefined;
  if (CHANGING.has(command) && opened.readOnly) return { error: WireError.EPERM, message: "the export is read-only" };
  if (offsetBytes + lengthBytes > opened.device.sizeBytes) {
    const error = CHANGING.has(command) ? WireError.ENOSPC : WireError.EINVAL;
    return { error, message: "past the end of the export" };
  }
  if ((command === Command.READ || command === Command.WRITE) && lengthBytes > PAYLOAD_MAX_BYTES)
    return { error: WireError.EOVERFLOW, message: `longer than ${PAYLOAD_MAX_BYTES} bytes` };
  if (command === Command.BLOCK_STATUS && (lengthBytes === 0 || opened.contexts.length === 0))
    return invalid(lengthBytes === 0 ? "status of nothing" : "no meta context was selected");
  return undefined;
}

function invalid(message: string): RequestRefusal {
  return { error: WireError.EINVAL, message };
}
