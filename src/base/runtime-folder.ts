// Where this user keeps what must not outlive the machine's uptime: control sockets, leases of exports. Only its owner may enter.

import { lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const uid = (): number => process.getuid?.() ?? 0;

/** The folder of this user. */
export function runtimeFolder(): string {
  if (uid() === 0) return "/run/h2ts";
  const runtime = process.env.XDG_RUNTIME_DIR;
  return runtime ? join(runtime, "h2ts") : `/tmp/h2ts-${uid()}`;
}

/** Makes the folder; refuses one that somebody else put there first. */
export function makeRuntimeFolder(): string {
  const folder = runtimeFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid()) throw new Error(`${folder} is not a folder of this user; remove it`);
  return folder;
}
