// A host that is gone, or a way there that is cut, without a word. Keep-alive probes find that out only while nothing is on the way:
// what was sent and never acknowledged is sent again for a quarter of an hour, and no probe goes out meanwhile. Linux gives up earlier
// when it is told to (TCP_USER_TIMEOUT), for which Node has no function.

import type { Socket } from "node:net";
import { loadKoffi, type NativeFunction } from "../../base/koffi.ts";

const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

let setsockopt: NativeFunction | undefined;

/**
 * Has the system probe a connected socket that says nothing for `idleMs`, and end it when nothing that was sent, probes included, is
 * acknowledged, or taken, within `giveUpMs`. Where its descriptor can't be had, keep-alive has to do.
 */
export function noticeDeadHost(socket: Socket, idleMs: number, giveUpMs: number): void {
  socket.setKeepAlive(true, idleMs);
  // Not a public property, but the same in all versions of Node.
  const { fd = -1 } = (socket as { _handle?: { fd?: number } | null })._handle ?? {};
  if (fd < 0) return;
  try {
    setsockopt ??= loadKoffi()
      .load(null)
      .func("int setsockopt(int fd, int level, int option, const void *value, unsigned int bytes)");
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, Uint32Array.of(giveUpMs), Uint32Array.BYTES_PER_ELEMENT);
  } catch {
    // No koffi here.
  }
}
