// The part of fuse-native 2.2.6 that h2ts uses; the package has no declarations of its own.
// A callback's first argument is 0 or a negative errno. Buffers are libfuse's memory, valid until the callback was called.

declare module "fuse-native" {
  type Done = (errno: number) => void;
  /** A count, or a negative errno. */
  type DoneCount = (result: number) => void;
  type DoneWith<T> = (errno: number, value?: T) => void;

  export interface Stat {
    mode: number;
    uid: number;
    gid: number;
    size: number;
    nlink: number;
    ino: number;
    rdev: number;
    blksize: number;
    blocks: number;
    /** Milliseconds since 1970, not negative. */
    atime: number;
    mtime: number;
    ctime: number;
  }

  export interface Statfs {
    bsize: number;
    frsize: number;
    blocks: number;
    bfree: number;
    bavail: number;
    files: number;
    ffree: number;
    favail: number;
    namemax: number;
  }

  export interface Operations {
    statfs(path: string, done: DoneWith<Statfs>): void;
    getattr(path: string, done: DoneWith<Stat>): void;
    readdir(path: string, done: DoneWith<string[]>): void;
    readlink(path: string, done: DoneWith<string>): void;
    truncate(path: string, size: number, done: Done): void;
    ftruncate(path: string, fd: number, size: number, done: Done): void;
    utimens(path: string, atimeMs: number, mtimeMs: number, done: Done): void;
    chown(path: string, uid: number, gid: number, done: Done): void;
    chmod(path: string, mode: number, done: Done): void;
    mknod(path: string, mode: number, dev: number, done: Done): void;
    open(path: string, flags: number, done: DoneWith<number>): void;
    release(path: string, fd: number, done: Done): void;
    read(path: string, fd: number, target: Buffer, length: number, position: number, done: DoneCount): void;
    write(path: string, fd: number, data: Buffer, length: number, position: number, done: DoneCount): void;
    fsync(path: string, datasync: number, fd: number, done: Done): void;
    fsyncdir(path: string, datasync: number, fd: number, done: Done): void;
    unlink(path: string, done: Done): void;
    rmdir(path: string, done: Done): void;
    mkdir(path: string, mode: number, done: Done): void;
    rename(from: string, to: string, done: Done): void;
    link(from: string, to: string, done: Done): void;
    symlink(target: string, path: string, done: Done): void;
    setxattr(path: string, name: string, value: Buffer, position: number, flags: number, done: Done): void;
    getxattr(path: string, name: string, position: number, done: DoneWith<Buffer>): void;
    listxattr(path: string, done: DoneWith<string[]>): void;
    removexattr(path: string, name: string, done: Done): void;
  }

  export interface Options {
    /** Joined with the other options by commas, unescaped. */
    fsname?: string;
    subtype?: string;
    defaultPermissions?: boolean;
    allowOther?: boolean;
    timeout?: false;
  }

  export default class Fuse {
    /** Runs `fusermount -uz`; called by the method of that name before it lets go of the event loop. */
    static unmount(directory: string, done: (error: Error | null) => void): void;
    constructor(directory: string, operations: Partial<Operations>, options: Options);
    mount(done: (error: Error | null | undefined) => void): void;
    unmount(done: (error: Error | null | undefined) => void): void;
  }
}
