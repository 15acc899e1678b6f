// Which kinds of records there are, and which fields each has; the place of a field is its place in the record. docs/format.md
// has it from here.
// Invariants: I4 (all inputs of an operation are among its fields).

import type { Operation } from "./operation.ts";

export type RecordFieldType = "number" | "boolean" | "bytes" | "latin1" | "time";
export type RecordField = readonly [name: string, type: RecordFieldType, presence?: "optional"];

const CREATE: readonly RecordField[] = [
  ["parent", "number"],
  ["name", "bytes", "optional"],
  ["ino", "number"],
  ["mode", "number"],
  ["umask", "number"],
  ["uid", "number"],
  ["gid", "number"],
  ["rdevMajor", "number"],
  ["rdevMinor", "number"],
  ["target", "bytes", "optional"],
  ["time", "time"],
];

const EXTEND: readonly RecordField[] = [
  ["ino", "number"],
  ["size", "number"],
  ["time", "time"],
];

const PUNCH: readonly RecordField[] = [
  ["ino", "number"],
  ["offset", "number"],
  ["end", "number"],
  ["time", "time"],
];

/**
 * Position is the kind's number in a record: only ever append; the last of an operation is the one written. `root` is mkfs's and
 * `repair` fsck's own: those are never logged.
 */
export const RECORD_KINDS: readonly (readonly [op: Operation["op"], fields: readonly RecordField[]])[] = [
  ["create", CREATE],
  [
    "link",
    [
      ["ino", "number"],
      ["parent", "number"],
      ["name", "bytes"],
      ["time", "time"],
    ],
  ],
  [
    "unlink",
    [
      ["parent", "number"],
      ["name", "bytes"],
      ["time", "time"],
    ],
  ],
  [
    "rmdir",
    [
      ["parent", "number"],
      ["name", "bytes"],
      ["time", "time"],
    ],
  ],
  [
    "rename",
    [
      ["parent", "number"],
      ["name", "bytes"],
      ["newParent", "number"],
      ["newName", "bytes"],
      ["replace", "boolean"],
      ["exchange", "boolean"],
      ["time", "time"],
    ],
  ],
  [
    "setattr",
    [
      ["ino", "number"],
      ["mode", "number", "optional"],
      ["uid", "number", "optional"],
      ["gid", "number", "optional"],
      ["size", "number", "optional"],
      ["atime", "time", "optional"],
      ["mtime", "time", "optional"],
      ["ctime", "time", "optional"],
      ["killPrivileges", "boolean"],
      ["time", "time"],
    ],
  ],
  [
    "write",
    [
      ["ino", "number"],
      ["offset", "number"],
      ["append", "boolean"],
      ["killPrivileges", "boolean"],
      ["time", "time", "optional"],
    ],
  ],
  ["extend", EXTEND],
  ["punch", PUNCH],
  [
    "setxattr",
    [
      ["ino", "number"],
      ["name", "latin1"],
      ["value", "bytes"],
      ["create", "boolean"],
      ["replace", "boolean"],
      ["killSgid", "boolean"],
      ["time", "time"],
    ],
  ],
  [
    "removexattr",
    [
      ["ino", "number"],
      ["name", "latin1"],
      ["time", "time"],
    ],
  ],
  ["release", [["ino", "number"]]],
  ["create", [...CREATE, ["generation", "number", "optional"]]],
  ["trim", [["ino", "number"]]],
  ["extend", [...EXTEND, ["keepPrivileges", "boolean", "optional"]]],
  ["punch", [...PUNCH, ["keepPrivileges", "boolean", "optional"]]],
];

/** Kind of a record that holds what an operation gave. */
export const RESULT_KIND = 255;
