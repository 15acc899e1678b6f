// How a volume is opened, and what whoever takes over from another process knows better than the media do.

import type { ChoosePolicy } from "../copies/choose-root.ts";
import type { Journal } from "../log/journal.ts";
import type { RebuiltFreemap } from "./open-freemaps.ts";
import type { Volume, VolumeOptions } from "./volume.ts";

export interface OpenOptions extends VolumeOptions, ChoosePolicy {
  /** How long a heartbeat counts (I11). */
  readonly leaseMs?: number;
  /** That of the worker whose place is taken; see Heartbeat. */
  readonly heartbeatNonce?: Uint8Array;
  /** Whoever opens it has claimed the copies already, and gives them free when all of its work is done. */
  readonly isClaimed?: boolean;
  /**
   * Instead of the bitmaps on media: each copy's, computed from what is reachable without the freemap trees; what the old
   * trees occupy is held.
   */
  readonly rebuildFreemap?: (copyIndex: number) => RebuiltFreemap;
  /** Whether several refs name (a part of) this place: it stays in use when one of them lets go of it. */
  readonly isNamedTwice?: (copyIndex: number, kib: number, sizeKib: number) => boolean;
  /** Counts the copies of the volume, and those needed, from the members that the root names. */
  readonly recount?: boolean;
  /** Instead of the refs to PFS blocks in the root, when those break the rules. */
  readonly superRoot?: Uint8Array;
  /** Instead of the PFS block on media, when that breaks the rules. */
  readonly pfsBlock?: Uint8Array;
  /** Where completed operations are noted; what is to be durable is appended to logs then. Without one it is committed. */
  readonly journal?: Journal;
  /**
   * The journal is that of a process that is gone, whose mount goes on: what it completed is carried out again, and inodes
   * without names stay, since programs may have them open.
   */
  readonly takeOver?: boolean;
  /** Goes on without acknowledged operations that no copy's log can give any more. */
  readonly dropLostLog?: boolean;
  /** Ends the log before the first operation that can't be carried out; else the volume is not opened. */
  readonly abandonLog?: boolean;
  /** Told how many completed operations were given up, of how many that waited, and why. */
  readonly onLogDropped?: (dropped: number, waiting: number, reason: string) => void;
  /** False: nothing of file data goes to media before the first commit, as by the root on media its places are not free. */
  readonly writesEarly?: boolean;
  /** Puts the tree in order before the log is carried out; one commit makes both durable. Not called for a volume that can only be read. */
  readonly beforeReplay?: (volume: Volume) => Promise<void>;
  /** Writes damaged slots of the root rings anew at once. */
  readonly renewRings?: boolean;
  /** Told what the operator should know although the volume could be opened. */
  readonly onNote?: (line: string) => void;
}

/** Whoever takes over knows which root was the newest: no acknowledged one can be hidden on a copy that is not here (`findPending`). */
export const knowsNewest = ({ takeOver, journal }: OpenOptions): boolean =>
  takeOver === true && journal?.hasRoot === true;

/** Nor is anything that was completed anywhere else than in the journal. */
export const hasRecords = ({ takeOver, journal }: OpenOptions): boolean =>
  takeOver === true && journal?.hasRecords === true;

/**
 * The operator said that fewer copies than are needed will do. What was said at the mount is in its first root: nobody was asked about
 * what is missing since.
 */
export const goesOnWithFewer = ({ degraded, forcedMaster, takeOver }: OpenOptions): boolean =>
  forcedMaster !== undefined || (degraded === true && takeOver !== true);

/** The log may end where it is lost; of a copy that others went on from, its last complete state is what there is. */
export const endsAtLostLog = ({ dropLostLog, forcedMaster }: OpenOptions): boolean =>
  dropLostLog === true || forcedMaster !== undefined;

/** It may end, too, before an operation that can't be carried out. */
export const endsAtLoss = ({ abandonLog, forcedMaster }: OpenOptions): boolean =>
  abandonLog === true || forcedMaster !== undefined;
