// Mounting as an ordinary user: fusermount3 (setuid) opens /dev/fuse, mounts, and passes the descriptor back over a socket.

import { spawn, spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { receiveDescriptor, socketPair } from "./descriptor-socket.ts";

function explain(error: NodeJS.ErrnoException): Error {
  if (error.code !== "ENOENT") return error;
  return new Error("fusermount3 is not installed: it is needed to mount as an ordinary user (Debian package fuse3)");
}

/** Mounts on `directory` through fusermount3 and returns the /dev/fuse descriptor. `options` are fusermount's own words. */
export function fusermount(directory: string, options: readonly string[]): number {
  const [ours, theirs] = socketPair(false);
  let passedOn = false;
  try {
    const child = spawnSync("fusermount3", ["-o", options.join(","), "--", directory], {
      stdio: ["ignore", "ignore", "pipe", theirs],
      env: { ...process.env, _FUSE_COMMFD: "3" },
      encoding: "utf8",
    });
    if (child.error !== undefined) throw explain(child.error);
    if (child.status !== 0) throw new Error(child.stderr.trim() || `fusermount3 failed with status ${child.status}`);
    closeSync(theirs);
    passedOn = true;
    const fd = receiveDescriptor(ours, true)?.fd;
    if (fd === undefined) throw new Error("fusermount3 mounted but passed no descriptor back");
    return fd;
  } finally {
    closeSync(ours);
    if (!passedOn) closeSync(theirs);
  }
}

/** Unmounts through fusermount3. In a process of its own, because unmounting may wait for us to serve it. */
export function fuserunmount(directory: string, lazy: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const flags = lazy ? ["-u", "-z"] : ["-u"];
    const child = spawn("fusermount3", [...flags, "--", directory], { stdio: ["ignore", "ignore", "pipe"] });
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaint += text;
    });
    child.on("error", (error) => reject(explain(error)));
    child.on("close", (status) => {
      if (status === 0) resolve();
      else reject(new Error(complaint.trim() || `fusermount3 failed with status ${status}`));
    });
  });
}
