// What a root says of the log that goes on from it: the log's id and where it begins on each copy.

import { readU48, writeU48 } from "../base/integers.ts";
import type { Uuid } from "../base/uuid.ts";
import { bytesAt } from "../base/view-bytes.ts";
import { COPIES_MAX } from "./geometry.ts";
import { ROOT_BLOCK } from "./root-block.ts";
import { offsetOf } from "./structure.ts";

const LOG_ID = offsetOf(ROOT_BLOCK, "logId");
const LOG_HEAD = offsetOf(ROOT_BLOCK, "logHead");

/** Id of the log that goes on from this root; all zero when there is none. A view. */
export const rootLogId = (v: DataView): Uuid => bytesAt(v, LOG_ID, 16);
/** First KiB of that log's first segment on each copy, 0 for none. */
export const rootLogHead = (v: DataView): number[] =>
  Array.from({ length: COPIES_MAX }, (_, copy) => readU48(v, LOG_HEAD + copy * 6));
/** Names the log that goes on from this root, or none. */
export function setRootLog(v: DataView, id: Uuid | undefined, head: readonly number[]): void {
  bytesAt(v, LOG_ID, 16).set(id ?? new Uint8Array(16));
  for (let copy = 0; copy < COPIES_MAX; copy++) writeU48(v, LOG_HEAD + copy * 6, head[copy] ?? 0);
}
