// Why a remote node can't be opened, in the terms of devices: whoever opens targets tells by the code whether the node is away,
// which a volume can do without, or wrong, which is refused.

import { messageOf } from "../../base/thrown.ts";
import { DeviceError } from "../../device/device.ts";
import { OpenError } from "../../device/open-error.ts";
import { NbdProtocolError } from "../wire/errors.ts";
import { NbdRefusedError, type RefusedKind } from "./refused-error.ts";

const CODES: Readonly<Record<RefusedKind, string>> = {
  "no-export": "ENOENT",
  "no-tls": "EACCES",
  "tls-needed": "EACCES",
  "tls-failed": "EACCES",
  unsupported: "ENOTSUP",
  "shutting-down": "ENOTCONN",
  "in-use": "EBUSY",
  refused: "EACCES",
  "another-node": "ESTALE",
};

/** `name` is what the operator called the node. */
export function openFailure(name: string, error: unknown): DeviceError {
  if (error instanceof DeviceError) return error;
  const message = messageOf(error);
  if (error instanceof NbdRefusedError)
    return new OpenError(name, error.kind === "in-use" ? "lock" : "open", CODES[error.kind], message);
  if (error instanceof NbdProtocolError) return new OpenError(name, "open", "EPROTO", message);
  return new OpenError(name, "open", "ENOTCONN", message);
}
