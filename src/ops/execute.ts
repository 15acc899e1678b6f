// The one function that carries out described operations, for the engine, the replay of a log, fsck and tests alike.
// It runs to its end synchronously, changes nothing but blocks of the store, and depends on nothing but the state and
// the record; it may stop with FsError, MISS or NoSpace at any point, and the engine then undoes what it did.

import { unreachable } from "../base/assert.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { setAttributes } from "./attributes.ts";
import { extend, punch, write } from "./data.ts";
import { create, link, makeRoot, removeDirectory, unlink } from "./names.ts";
import { NO_RESULT, type Operation, type OperationResult } from "./operation.ts";
import { release, trim } from "./release.ts";
import { repair } from "./repair.ts";
import { rename } from "./rename.ts";
import { removeXattr, setXattr } from "./xattrs.ts";

export function execute(state: PfsState, operation: Operation): OperationResult {
  switch (operation.op) {
    case "root":
      return makeRoot(state, operation);
    case "create":
      return create(state, operation);
    case "link":
      return link(state, operation);
    case "unlink":
      return unlink(state, operation);
    case "rmdir":
      return removeDirectory(state, operation);
    case "rename":
      return rename(state, operation);
    case "setattr":
      return setAttributes(state, operation);
    case "write":
      return write(state, operation);
    case "extend":
      return extend(state, operation);
    case "punch":
      return punch(state, operation);
    case "setxattr":
      return setXattr(state, operation);
    case "removexattr":
      return removeXattr(state, operation);
    case "release":
      return release(state, operation);
    case "trim":
      return trim(state, operation);
    case "repair":
      repair(state, operation.action);
      return NO_RESULT;
    default:
      return unreachable(operation);
  }
}
