// Where control sockets lie: one for each mount, named by the mount's device number, in a folder only its owner may enter.

import { lstatSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";

const uid = (): number => process.getuid?.() ?? 0;

/** The folder of this user's sockets. */
export function controlFolder(): string {
  if (uid() === 0) return "/run/h2ts";
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime ? join(runtime, "h2ts") : `/tmp/h2ts-${uid()}`;
}

/** Makes the folder; refuses one that somebody else put there first. */
export function makeControlFolder(): string {
  const folder = controlFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid()) throw new Error(`${folder} is not a folder of this user; remove it`);
  return folder;
}

/** Socket paths worth trying for a mount; root also finds those of users. */
export function controlPaths(deviceKey: string): string[] {
  const folders = [controlFolder()];
  if (uid() === 0) {
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
