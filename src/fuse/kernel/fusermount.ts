// Mounting as an ordinary user: fusermount3 (setuid) opens /dev/fuse, mounts, and passes the descriptor back over a socket
// as ancillary data (SCM_RIGHTS), which only recvmsg can receive.

import { spawn, spawnSync } from "node:child_process";
import { closeSync } from "node:fs";
import { endianness } from "node:os";
import koffi from "koffi";
import { assert } from "../../base/assert.ts";
import { systemError } from "./system-error.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

const libc = koffi.load(null);
const socketpair = libc.func("int socketpair(int domain, int type, int protocol, void *pair)") as (
  domain: number,
  type: number,
  protocol: number,
  pair: Int32Array,
) => number;
const recvmsg = libc.func("long recvmsg(int fd, void *message, int flags)") as (
  fd: number,
  message: Uint8Array,
  flags: number,
) => number;

/** Receives one descriptor; undefined when the other side closed without sending one. */
function receiveDescriptor(socket: number): number | undefined {
  assert(endianness() === "LE", "struct msghdr is laid out for little-endian 64-bit machines");
  const payload = Buffer.alloc(8);
  const control = Buffer.alloc(24); // One cmsghdr (16 bytes) with one descriptor, aligned to 8.
  const vector = Buffer.alloc(16); // struct iovec
  vector.writeBigUInt64LE(koffi.address(payload), 0);
  vector.writeBigUInt64LE(BigInt(payload.length), 8);
  const message = Buffer.alloc(56); // struct msghdr
  message.writeBigUInt64LE(koffi.address(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(koffi.address(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  const count = recvmsg(socket, message, MSG_CMSG_CLOEXEC);
  if (count < 0) throw systemError("recvmsg from fusermount3");
  const level = control.readInt32LE(8);
  const type = control.readInt32LE(12);
  if (count === 0 || level !== SOL_SOCKET || type !== SCM_RIGHTS) return undefined;
  return control.readInt32LE(16);
}

function explain(error: NodeJS.ErrnoException): Error {
  if (error.code !== "ENOENT") return error;
  return new Error("fusermount3 is not installed: it is needed to mount as an ordinary user (Debian package fuse3)");
}

/** Mounts on `directory` through fusermount3 and returns the /dev/fuse descriptor. `options` are fusermount's own words. */
export function fusermount(directory: string, options: readonly string[]): number {
  const pair = new Int32Array(2);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) !== 0) throw systemError("socketpair");
  const [ours, theirs] = pair as unknown as [number, number];
  try {
    const child = spawnSync("fusermount3", ["-o", options.join(","), "--", directory], {
      stdio: ["ignore", "ignore", "pipe", theirs],
      env: { ...process.env, _FUSE_COMMFD: "3" },
      encoding: "utf8",
    });
    if (child.error !== undefined) throw explain(child.error);
    if (child.status !== 0) throw new Error(child.stderr.trim() || `fusermount3 failed with status ${child.status}`);
    closeSync(theirs);
    pair[1] = -1;
    const fd = receiveDescriptor(ours);
    if (fd === undefined) throw new Error("fusermount3 mounted but passed no descriptor back");
    return fd;
  } finally {
    closeSync(ours);
    if (pair[1] !== -1) closeSync(theirs);
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
