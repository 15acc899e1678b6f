// The name of a unix socket, which its server leaves behind when it is killed.

import { lstatSync, rmSync } from "node:fs";
import { connect } from "node:net";

/**
 * Removes the socket if nobody answers there. One that answers keeps its name, and so does anything but a socket (it refuses
 * connections, too): listening there fails.
 */
export async function removeDeadSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
  if (isDead) rmSync(path, { force: true });
}
