// The daemon's log: a file or stderr, and the last lines in memory so that `h2ts status` can show them. A log that
// can't be written (full disk, say) is given up silently: it must never stop the mount.

import { openSync, writeSync } from "node:fs";

const KEPT_LINES = 20;

export class DaemonLog {
  readonly #fd: number | undefined;
  readonly #now: () => Date;
  readonly #recent: string[] = [];

  private constructor(fd: number | undefined, now: () => Date) {
    this.#fd = fd;
    this.#now = now;
  }

  /** Appends to the file; throws when it can't be opened. */
  static toFile(path: string, now: () => Date): DaemonLog {
    return new DaemonLog(openSync(path, "a", 0o640), now);
  }

  static toStderr(now: () => Date): DaemonLog {
    return new DaemonLog(2, now);
  }

  /** Keeps the recent lines and writes nowhere. */
  static inMemory(now: () => Date): DaemonLog {
    return new DaemonLog(undefined, now);
  }

  line(text: string): void {
    const stamped = `${this.#now().toISOString()} ${text}`;
    this.#recent.push(stamped);
    if (this.#recent.length > KEPT_LINES) this.#recent.shift();
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, `${stamped}\n`);
    } catch {
      // Nothing better can be done with a line about the log than to drop it.
    }
  }

  /** Oldest first. */
  recent(): readonly string[] {
    return this.#recent;
  }
}
