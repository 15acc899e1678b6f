// A mount whose supervisor and worker both died stays in the mount table, and every call on it fails. Asked only where no daemon
// answers, and by another process: one that is killed ends even where its call would wait for a worker that is stopped.

import { spawn } from "node:child_process";
import { ControlClient } from "../daemon/control-client.ts";
import type { MountedVolume } from "../daemon/mount-table.ts";

const LOOK_MS = 3000;
/** The exit code of the look at a mount that nobody serves any more: the errno of ENOTCONN. */
const NOT_CONNECTED = 107;
/** What a mount is asked that the kernel never answers from its cache. */
const LOOK = `
try { require("node:fs").statfsSync(process.argv[1]); }
catch (error) { process.exitCode = error.code === "ENOTCONN" ? ${NOT_CONNECTED} : 1; }`;

/** Whether nobody serves the mount any more, as its daemon is dead. False where that can't be told within some seconds. */
export async function isDead(mount: MountedVolume): Promise<boolean> {
  const client = await ControlClient.connect(mount.deviceKey, mount.owner);
  client?.close();
  return client === undefined && (await isCutOff(mount.directory));
}

/** What is wrong with such a mount, and what to do. */
export function deathOf({ directory }: MountedVolume): string {
  return `its daemon is dead; take the mount off with 'h2ts umount ${directory}', then mount it again`;
}

function isCutOff(directory: string): Promise<boolean> {
  return new Promise((resolve) => {
    const look = spawn(process.execPath, ["-e", LOOK, directory], {
      stdio: "ignore",
      timeout: LOOK_MS,
      killSignal: "SIGKILL",
    });
    look.on("error", () => resolve(false));
    look.on("exit", (code) => resolve(code === NOT_CONNECTED));
  });
}
