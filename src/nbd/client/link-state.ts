// How a link stands, and what happened to it since the node was opened.

import type { DeviceOperation } from "../../device/device.ts";
import { Command } from "../wire/constants.ts";

/** Given up: every request fails, and only opening the node anew helps. */
export type LinkState = "connected" | "reconnecting" | "given-up" | "closed";

export interface LinkCounters {
  reconnects: number;
  /** Requests and kept writes sent again. */
  resent: number;
  roundTripMs: number;
  lastError: string | undefined;
}

const OPERATIONS: Readonly<Record<number, DeviceOperation>> = {
  [Command.READ]: "read",
  [Command.WRITE]: "write",
  [Command.FLUSH]: "flush",
  [Command.TRIM]: "discard",
  [Command.WRITE_ZEROES]: "zero",
  [Command.BLOCK_STATUS]: "map",
};

/** What a device does when it sends this Command. */
export const operationOf = (command: number): DeviceOperation => OPERATIONS[command] ?? "read";
