// Where control sockets lie: one for each mount, named by the mount's device number, in a folder only its owner may enter.

import { join } from "node:path";
import { runtimeFolders } from "../base/runtime-folder.ts";

/** Socket paths worth trying for a mount of `owner`, of this user unless given. */
export function controlPaths(deviceKey: string, owner?: number): string[] {
  return runtimeFolders(owner).map((folder) => join(folder, `${deviceKey}.sock`));
}
