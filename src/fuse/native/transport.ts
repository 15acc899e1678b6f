// The portable transport: fuse-native on libfuse 2. Loaded only when it is asked for, because its library may not be installed.
// It says nothing when a mount ends, so the mount table is looked at.

import type Fuse from "fuse-native";
import { mountedFileSystems } from "../../base/mounted-filesystems.ts";
import { messageOf } from "../../base/thrown.ts";
import type { FileSystemRequests } from "../../posix/requests.ts";
import { isGenericMountOption } from "../kernel/mount-options.ts";
import { mountAt, mountPointPath } from "../kernel/mountinfo.ts";
import { unmount } from "../kernel/mount.ts";
import type { Mounted, ServeOptions, Transport, TransportMount } from "../transport.ts";
import { nativeOperations } from "./operations.ts";

const MOUNT_TABLE_INTERVAL_MS = 250;
/** Words libfuse 2 knows; the kernel would refuse the others as filesystem options. */
const LIBFUSE_WORDS: ReadonlySet<string> = new Set(
  "ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime".split(" "),
);

async function load(): Promise<typeof Fuse> {
  try {
    return (await import("fuse-native")).default;
  } catch (error) {
    const reason = messageOf(error);
    if (reason.includes("libfuse")) {
      throw new Error(
        "the transport fuse-native needs libfuse 2: install it (Debian package libfuse2) or use --transport kernel",
        {
          cause: error,
        },
      );
    }
    throw new Error(`the transport fuse-native can't be loaded here: ${reason}`, { cause: error });
  }
}

/**
 * The mount options, in the place of the file system's name: fuse-native joins options by commas without escaping, and knows
 * none of these. big_writes: 128 KiB instead of 4 KiB per write. use_ino: our inode numbers, so hard links are seen as such.
 * nonempty: hide what the directory holds, as mount(8) does. attr_timeout=0: libfuse takes two names of one file for two files and would
 * show one's attributes after a change by the other.
 */
function fsname(mount: TransportMount): string {
  const words = (mount.options ?? []).filter((word) => LIBFUSE_WORDS.has(word));
  const unknown = (mount.options ?? []).find((word) => !isGenericMountOption(word));
  if (unknown !== undefined) throw new Error(`unknown mount option: ${unknown}`);
  const source = mount.source.replace(/[\\,]/g, "\\$&");
  return [source, "use_ino", "big_writes", "attr_timeout=0", "nonempty", ...words].join(",");
}

/** Resolves once nothing is mounted on `directory` by us any more. */
function gone(directory: string, device: string): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      // Asked by number: the folder it was mounted on may be gone by now, too.
      if (mountedFileSystems().some((entry) => entry.device === device && entry.directory === directory)) return;
      clearInterval(timer);
      resolve();
    }, MOUNT_TABLE_INTERVAL_MS);
  });
}

/** After the mount is gone: its handle would keep the process alive for ever. Only unmounting once more lets go of it. */
function letGo(FuseClass: typeof Fuse, fuse: Fuse): Promise<void> {
  FuseClass.unmount = (_directory, done) => done(null);
  return new Promise((resolve) => fuse.unmount(() => resolve()));
}

export const nativeTransport: Transport = {
  name: "fuse-native",
  async mount(request: TransportMount, fs: FileSystemRequests, options: ServeOptions): Promise<Mounted> {
    const FuseClass = await load();
    const directory = mountPointPath(request.directory);
    const caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: 0, umask: 0 };
    const fuse = new FuseClass(directory, nativeOperations(fs, caller, options.onFault), {
      fsname: fsname(request),
      subtype: "h2ts",
      defaultPermissions: true,
      allowOther: request.allowOther ?? caller.uid === 0,
      timeout: false,
    });
    await new Promise<void>((resolve, reject) => {
      fuse.mount((error) => {
        if (!(error instanceof Error)) resolve();
        else
          reject(new Error(`fuse-native could not mount on ${request.directory}: ${error.message}`, { cause: error }));
      });
    });
    const closed = gone(directory, mountAt(directory)?.device ?? "").then(() => letGo(FuseClass, fuse));
    return { directory, closed, unmount: (lazy) => unmount(directory, lazy) };
  },
};
