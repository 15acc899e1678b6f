// libfuse 2's operations in terms of FileSystemRequests. One user: everything is created as the daemon's, because the caller's
// identity is not passed on; the kernel has applied the umask before. An unlinked file that is open stays (libfuse renames it to
// .fuse_hidden… besides). The rest of what this transport can't do is in the README's table.

import type { Operations } from "fuse-native";
import type { Caller, FileSystemRequests } from "../../posix/requests.ts";
import { attributeOperations } from "./attributes.ts";
import { finishWith } from "./context.ts";
import { dataOperations } from "./data.ts";
import { nameOperations } from "./names.ts";
import { xattrOperations } from "./xattrs.ts";

export function nativeOperations(
  fs: FileSystemRequests,
  caller: Caller,
  onFault: (error: unknown) => void,
): Operations {
  const context = { fs, caller, finish: finishWith(onFault) };
  return {
    ...attributeOperations(context),
    ...nameOperations(context),
    ...dataOperations(context),
    ...xattrOperations(context),
  };
}
