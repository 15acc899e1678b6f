// The few system calls Node does not offer and the commands need, through koffi; loaded on first use.

import { createRequire } from "node:module";
import { getSystemErrorMap } from "node:util";

interface Calls {
  readonly umount2: (path: string, flags: number) => number;
  readonly syncfs: (fd: number) => number;
  readonly errno: () => number;
}

/** A system call failed; `code` is the error's name (EBUSY, EPERM, …). */
export class SystemCallError extends Error {
  override readonly name = "SystemCallError";
  readonly code: string;

  constructor(call: string, errno: number) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, "unknown error"];
    super(`${call}: ${text}`);
    this.code = code;
  }
}

export const UnmountFlag = { DETACH: 2 } as const;

let loaded: Calls | undefined;

function calls(): Calls {
  if (!loaded) {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    const libc = koffi.load("libc.so.6");
    loaded = {
      umount2: libc.func("int umount2(const char *path, int flags)") as Calls["umount2"],
      syncfs: libc.func("int syncfs(int fd)") as Calls["syncfs"],
      errno: () => koffi.errno(),
    };
  }
  return loaded;
}

/** umount2(2). Throws {@link SystemCallError}. */
export function unmount(directory: string, flags = 0): void {
  if (calls().umount2(directory, flags) !== 0) throw new SystemCallError("umount", calls().errno());
}

/** syncfs(2): the kernel writes back every dirty page of the filesystem `fd` is on. Throws {@link SystemCallError}. */
export function syncFilesystem(fd: number): void {
  if (calls().syncfs(fd) !== 0) throw new SystemCallError("syncfs", calls().errno());
}
