// Makes the fields of a PFS block keep the rules again. Counters that are no numbers begin anew: the next look says what
// they should be. The magic is not touched: a block without it is nobody's PFS.

import { offsetOf } from "../src/format/structure.ts";
import {
  PFS,
  pfsInodeCount,
  pfsNextIno,
  ROOT_INO,
  setPfsId,
  setPfsInodeCount,
  setPfsNextIno,
} from "../src/format/pfs.ts";
import { clearReserved, readable } from "./fix-fields.ts";

const FLAGS = offsetOf(PFS, "flags");

export function fixPfsFields(bytes: Uint8Array, v: DataView, id: number): void {
  clearReserved(PFS, bytes);
  v.setUint32(FLAGS, 0, true);
  setPfsId(v, id);
  if (!readable(() => pfsNextIno(v))) setPfsNextIno(v, ROOT_INO + 1);
  if (!readable(() => pfsInodeCount(v))) setPfsInodeCount(v, 0);
}
