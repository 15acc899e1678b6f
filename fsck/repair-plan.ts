// What would put a finding right, as plain records. The checker only writes them down; fsck/repair.ts carries them out.

/** New values for fields of an inode; absent ones stay. */
export interface InodeFields {
  readonly nlink?: number;
  readonly entries?: number;
  readonly size?: number;
  readonly usedKib?: number;
  readonly parent?: number;
}

export type Repair =
  /** Rewrite one block on `copy` from a copy that has it. */
  | {
      readonly kind: "block";
      readonly copy: number;
      readonly pointers: readonly number[];
      readonly checkType: number;
      readonly check: Uint8Array;
      readonly sizeBytes: number;
      readonly metadata: boolean;
    }
  /** A commit writes a fresh root to every copy; three of them renew the ring. */
  | { readonly kind: "ring" }
  /** Node headers are written again from what the good ones say. */
  | { readonly kind: "headers" }
  /** Bitmaps are computed from what is reachable. */
  | { readonly kind: "freemap" }
  | { readonly kind: "inode"; readonly ino: number; readonly fields: InodeFields }
  /** Take an inode out of the index; nothing of it can be used. */
  | { readonly kind: "drop-inode"; readonly ino: number }
  /** Give an inode without a name one in lost+found. */
  | { readonly kind: "attach"; readonly ino: number }
  | { readonly kind: "remove-entry"; readonly directory: number; readonly key: number }
  | { readonly kind: "entry-type"; readonly directory: number; readonly key: number; readonly type: number }
  | { readonly kind: "mark-orphan"; readonly ino: number }
  | { readonly kind: "unmark-orphan"; readonly ino: number }
  /** Go on releasing an unlinked or truncated file. */
  | { readonly kind: "release"; readonly ino: number }
  /** Zero the bytes after the end of a file and drop what lies past it. */
  | { readonly kind: "trim"; readonly ino: number }
  | { readonly kind: "drop-xattrs"; readonly ino: number }
  | { readonly kind: "pfs"; readonly inodeCount?: number; readonly nextIno?: number };
