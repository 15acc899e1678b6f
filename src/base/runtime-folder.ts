// Where a user's programs keep what must not outlive the machine's uptime: control sockets, leases of exports. Only that user may
// enter. Which folder it is the environment of a program decides, and that of a login is another one than that of cron or su: who
// looks for something looks in all of them.

import { lstatSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { SOCKET_PATH_BYTES_MAX } from "./socket-path.ts";

/** The longest name of a control socket, while it is being made: device number and process id. */
const SOCKET_NAME = "/4095-1048575.sock.4194304";

const uid = (): number => process.getuid?.() ?? 0;

/** The folder of this user, for what this program keeps. */
export function runtimeFolder(): string {
  if (uid() === 0) return "/run/h2ts";
  const { XDG_RUNTIME_DIR: runtime } = process.env;
  const elsewhere = `/tmp/h2ts-${uid()}`;
  // su leaves the variable as it was, and the folder of somebody else can't be written to.
  if (!runtime || !isFolderOf(`${runtime}/`, uid())) return elsewhere;
  const folder = join(runtime, "h2ts");
  return Buffer.byteLength(folder + SOCKET_NAME) <= SOCKET_PATH_BYTES_MAX ? folder : elsewhere;
}

/** The folders that programs of `owner` may have used. One that belongs to somebody else is not trusted, and not among them. */
export function runtimeFolders(owner = uid()): string[] {
  const known = owner === 0 ? ["/run/h2ts"] : [`/run/user/${owner}/h2ts`, `/tmp/h2ts-${owner}`];
  const folders = owner === uid() ? [runtimeFolder(), ...known] : known;
  return [...new Set(folders)].filter((folder) => isFolderOf(folder, owner));
}

/** Makes the folder; refuses one that somebody else put there first. */
export function makeRuntimeFolder(): string {
  const folder = runtimeFolder();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (!isFolderOf(folder, uid())) throw new Error(`${folder} is not a folder of this user; remove it`);
  return folder;
}

/** A link to one is none, as somebody else may have made it; with a slash behind its name it is. */
function isFolderOf(path: string, owner: number): boolean {
  try {
    const stat = lstatSync(path);
    return stat.isDirectory() && stat.uid === owner;
  } catch {
    return false;
  }
}
