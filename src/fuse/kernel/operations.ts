// The dispatch table. An opcode that is not here is answered ENOSYS, which is meant for OPEN, OPENDIR, CREATE, FLUSH and ACCESS:
// the kernel then stops sending them, opens files by itself, creates with MKNOD, and there is no open-file state to lose.

import { OPCODE_LIMIT, Opcode } from "./abi.ts";
import { ATTRIBUTE_OPERATIONS } from "./attributes.ts";
import { DATA_OPERATIONS } from "./data.ts";
import { DIRECTORY_OPERATIONS } from "./directories.ts";
import { NAME_OPERATIONS } from "./names.ts";
import { INIT } from "./negotiation.ts";
import { NO_BODY, type Operation, operation } from "./operation.ts";
import { XATTR_OPERATIONS } from "./xattrs.ts";

const SESSION_OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [Opcode.INIT, INIT],
  // Every operation ends by itself, so there is nothing to interrupt, and saying nothing tells the kernel so.
  [Opcode.INTERRUPT, operation<void>({ bodyBytes: 0, run: () => undefined, encode: undefined })],
  [Opcode.NOTIFY_REPLY, operation<void>({ bodyBytes: 0, run: () => undefined, encode: undefined })],
  [Opcode.DESTROY, operation<void>({ bodyBytes: 0, run: ({ fs }) => fs.sync(), encode: NO_BODY })],
]);

/** By opcode. */
export const OPERATIONS: readonly (Operation | undefined)[] = Array.from({ length: OPCODE_LIMIT }, (_, opcode) => {
  const themes = [
    SESSION_OPERATIONS,
    NAME_OPERATIONS,
    ATTRIBUTE_OPERATIONS,
    DATA_OPERATIONS,
    DIRECTORY_OPERATIONS,
    XATTR_OPERATIONS,
  ];
  return themes.map((theme) => theme.get(opcode)).find((found) => found !== undefined);
});
