// The kernel transport: /dev/fuse spoken directly. Mounting and serving can be done together (Transport.mount) or apart: a
// supervisor calls mount() of mount.ts and keeps the descriptor, a worker that it was handed to calls serveDevice().

import { closeSync } from "node:fs";
import type { FileSystemRequests } from "../../posix/requests.ts";
import type { Mounted, ServeOptions, Transport, TransportMount } from "../transport.ts";
import { DeviceChannel } from "./channel.ts";
import { Wakeup } from "./event-loop.ts";
import { ServeLoop } from "./loop.ts";
import { mount, unmount } from "./mount.ts";
import type { Negotiated } from "./negotiation.ts";
import { Notices, sender } from "./notices.ts";
import { Session } from "./session.ts";

export interface DeviceOptions extends ServeOptions {
  /** What an earlier process agreed on with the kernel; without it the mount is new and INIT is still to come. */
  readonly negotiated?: Negotiated | undefined;
  /** Told what was agreed on before the kernel is. */
  readonly onNegotiated?: (agreed: Negotiated) => void;
  /** Told once that everything is answered which an earlier process left unanswered. */
  readonly onSettled?: () => void;
  /** By which the kernel is told of inodes; by default threads of this process do it. */
  readonly notices?: Notices;
}

/** One process's service of an open, mounted /dev/fuse. The descriptor stays open; whoever opened it closes it. */
export interface DeviceService {
  readonly session: Session;
  /** When the mount was used last, by the monotonic clock, in milliseconds. */
  readonly usedAtMs: () => number;
  /** Resolves when the mount is gone or after `stop`, and nothing is in flight any more; rejects when requests can't be taken any more. */
  readonly closed: Promise<void>;
  /** Takes no further request; resolves when the descriptor is out of the event loop and may be served by another. */
  stop(): Promise<void>;
}

/** Serves the mount behind `fd` on this process's main thread. */
export function serveDevice(fd: number, fs: FileSystemRequests, options: DeviceOptions): DeviceService {
  const notices = options.notices ?? new Notices(sender(fd));
  const session = new Session(new DeviceChannel(fd), fs, { ...options, notices });
  if (options.negotiated !== undefined) session.resend();
  const wakeup = new Wakeup(fd);
  const loop = new ServeLoop(session, wakeup);
  const ended = loop.run().finally(() => wakeup.close());
  const stop = (): Promise<void> => {
    loop.stop();
    return ended;
  };
  return { session, usedAtMs: () => loop.usedAtMs, closed: ended.then(() => session.quiet()), stop };
}

export const kernelTransport: Transport = {
  name: "kernel",
  async mount(request: TransportMount, fs: FileSystemRequests, options: ServeOptions): Promise<Mounted> {
    const { fd, directory } = mount(request);
    const service = serveDevice(fd, fs, options);
    const closed = service.closed.finally(() => closeSync(fd));
    return Promise.resolve({ directory, closed, unmount: (lazy) => unmount(directory, lazy) });
  },
};
