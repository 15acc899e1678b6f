// Where requests come from and answers go: /dev/fuse, or in tests a list of messages.

import koffi from "koffi";

export interface Channel {
  /** Bytes of the next request, or a negative errno (-EAGAIN: none waiting). */
  read(into: Uint8Array): number;
  /** Sends the first `lengthBytes` of `from`; a negative errno on failure. */
  write(from: Uint8Array, lengthBytes: number): number;
}

const libc = koffi.load(null);
const read = libc.func("long read(int fd, void *bytes, size_t count)") as (
  fd: number,
  bytes: Uint8Array,
  count: number,
) => number;
const write = libc.func("long write(int fd, const void *bytes, size_t count)") as typeof read;

/** An open /dev/fuse in non-blocking mode. Plain calls through koffi: fs.readSync would make an Error object of every EAGAIN. */
export class DeviceChannel implements Channel {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  read(into: Uint8Array): number {
    const count = read(this.fd, into, into.length);
    return count < 0 ? -koffi.errno() : count;
  }

  write(from: Uint8Array, lengthBytes: number): number {
    const count = write(this.fd, from, lengthBytes);
    return count < 0 ? -koffi.errno() : count;
  }
}
