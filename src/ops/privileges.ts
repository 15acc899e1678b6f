// What happens to the setuid and setgid bits when a file changes hands or content.

import { Mode, isDirectory } from "../format/mode.ts";

/**
 * The mode after a write, truncation or change of owner: setuid goes; setgid goes where the group may execute, which is FUSE's
 * rule (HANDLE_KILLPRIV_V2). Linux's own filesystems take it without that bit too, from who is not in the group: we are not
 * told. Directories keep both.
 */
export function withoutPrivileges(mode: number): number {
  if (isDirectory(mode)) return mode;
  const cleared = mode & ~Mode.SETUID;
  return (cleared & Mode.GROUP_EXECUTE) !== 0 ? cleared & ~Mode.SETGID : cleared;
}
