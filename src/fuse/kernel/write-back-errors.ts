// What went wrong when the kernel wrote back what it kept of a file. It takes in what programs write without asking us, and tells
// them of such an error at fsync and close only: one that does neither, or not for long, would go on and on writing what is lost.
// So after a failed write-back the kernel is told that what it knows of the file's attributes holds no more. Before it takes the
// next write it then asks for them, naming an open file, as it does for no stat: that is answered with the error, once, and the
// write(2) fails with it. When others ask for the attributes in between, nothing is told, and the next write-back fails as well.
// An fsync that fails for it is not seen here: the kernel, which has the error, sends none then. So only an error that meets the next
// write, too, is kept; one of a place in the file would be told twice, and to a write that concerns another place.

import { FsError } from "../../base/errno.ts";
import type { FileSystemRequests } from "../../posix/requests.ts";
import type { Notices } from "./notices.ts";

/** What goes wrong wherever in the file is written. */
const MEETS_ALL: ReadonlySet<string> = new Set(["ENOSPC", "EROFS"]);
/** Files whose errors are kept; those of more are told at fsync and close only. */
const FILES_MAX = 1024;

interface Failure {
  readonly error: FsError;
  /** Room there was when it happened: with more, the next write may do better. */
  readonly blocksAvailable: number;
}

export class WriteBackErrors {
  readonly #fs: FileSystemRequests;
  readonly #notices: Notices;
  readonly #failures = new Map<number, Failure>();
  /** Files of which the kernel is being told. */
  readonly #telling = new Set<number>();

  constructor(fs: FileSystemRequests, notices: Notices) {
    this.#fs = fs;
    this.#notices = notices;
  }

  /** Something of this file could not be written back. */
  failed(ino: number, error: unknown): void {
    if (!(error instanceof FsError) || !MEETS_ALL.has(error.code)) return;
    if (this.#failures.size >= FILES_MAX && !this.#failures.has(ino)) return;
    const { blocksAvailable } = this.#fs.statistics();
    this.#failures.set(ino, { error, blocksAvailable });
    if (this.#telling.has(ino)) return;
    this.#telling.add(ino);
    void this.#notices.attributesChanged(ino).then(() => this.#telling.delete(ino));
  }

  /** The kernel tells the program now, or the file was cut off, which may have made room. */
  settled(ino: number): void {
    if (this.#failures.size > 0) this.#failures.delete(ino);
  }

  /** Before the kernel takes what a program writes to this file. Throws what the write is to fail with. */
  beforeWrite(ino: number): void {
    if (this.#failures.size === 0) return;
    const failure = this.#failures.get(ino);
    if (failure === undefined) return;
    this.#failures.delete(ino);
    const { error, blocksAvailable } = failure;
    if (error.code === "ENOSPC" && this.#fs.statistics().blocksAvailable > blocksAvailable) return;
    throw error;
  }
}
