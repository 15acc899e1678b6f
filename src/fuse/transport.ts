// What both transports can do: mount and serve in one process, whatever the filesystem. Mount tests and benchmarks need no more,
// and need not know which one they use. The daemon does: the kernel's mount is kept by its supervisor, and workers serve it one
// after the other (serveDevice of kernel/transport.ts), where fuse-native mounts by itself and no other worker can follow.

import type { FileSystemRequests } from "../posix/requests.ts";

export interface TransportMount {
  /** As mount(8) shows it. */
  readonly source: string;
  readonly directory: string;
  /** Generic option words of mount(8). */
  readonly options?: readonly string[];
  readonly allowOther?: boolean;
}

export interface ServeOptions {
  /** Told of everything thrown that is not an FsError; the daemon goes read-only on an AssertionError. */
  readonly onFault: (error: unknown) => void;
}

/** One live mount being served. */
export interface Mounted {
  readonly directory: string;
  /** Resolves once the mount is gone and nothing is in flight any more. */
  readonly closed: Promise<void>;
  /** Unmounts; resolves when the kernel has taken it out of the tree. Rejects while it is in use, unless `lazy`. */
  unmount(lazy?: boolean): Promise<void>;
}

export interface Transport {
  readonly name: "kernel" | "fuse-native";
  /** Mounts and serves; resolves when the mount is live. */
  mount(mount: TransportMount, fs: FileSystemRequests, options: ServeOptions): Promise<Mounted>;
}
