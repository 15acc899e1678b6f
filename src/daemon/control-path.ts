// Where control sockets lie: one for each mount, named by the mount's device number, in a folder only its owner may enter.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runtimeFolder } from "../base/runtime-folder.ts";

/** Socket paths worth trying for a mount; root also finds those of users. */
export function controlPaths(deviceKey: string): string[] {
  const folders = [runtimeFolder()];
  if (process.getuid?.() === 0) {
    for (const [parent, pattern] of [
      ["/run/user", /^\d+$/],
      ["/tmp", /^h2ts-\d+$/],
    ] as const) {
      for (const name of listNames(parent)) {
        if (pattern.test(name)) folders.push(parent === "/tmp" ? join(parent, name) : join(parent, name, "h2ts"));
      }
    }
  }
  return folders.map((folder) => join(folder, `${deviceKey}.sock`));
}

function listNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
