// Which nodes make up a copy, in a few bytes: a copy of which a node was replaced is told from what it was before.

import type { Uuid } from "../base/uuid.ts";
import { sha256 } from "./check.ts";

export const ROW_BYTES = 8;

/** Tells rows of nodes apart, by the UUIDs of the nodes in their order. */
export const rowOf = (nodeUuids: readonly Uuid[]): Uint8Array => sha256(...nodeUuids).slice(0, ROW_BYTES);
