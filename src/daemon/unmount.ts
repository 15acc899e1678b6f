// Takes a mount out of the mount table: by the system call where the process may, else through fusermount.

import { spawnSync } from "node:child_process";
import { SystemCallError, unmount, UnmountFlag } from "./system-calls.ts";

/** Unmounts `directory`; `lazy` takes it out of sight at once and lets go when its last user does. Throws on refusal. */
export function unmountDirectory(directory: string, lazy = false): void {
  try {
    unmount(directory, lazy ? UnmountFlag.DETACH : 0);
    return;
  } catch (error) {
    if (!(error instanceof SystemCallError) || error.code !== "EPERM") throw error;
  }
  const words = ["-u", ...(lazy ? ["-z"] : []), "--", directory];
  let run = spawnSync("fusermount3", words, { encoding: "utf8" });
  if (run.error) run = spawnSync("fusermount", words, { encoding: "utf8" });
  if (run.error) throw new Error("neither allowed to unmount nor is fusermount3 installed (package fuse3)");
  if (run.status !== 0) {
    const text = run.stderr.trim().split("\n").at(-1) ?? "";
    if (/busy/i.test(text)) throw new SystemCallError("umount", 16);
    throw new Error(text === "" ? `fusermount3 ended with exit code ${run.status}` : text);
  }
}
