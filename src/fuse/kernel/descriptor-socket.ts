// Sockets over which open descriptors travel from one process to another, as ancillary data (SCM_RIGHTS). What was sent
// and not yet received lives in the socket: it stays open even when its sender dies.

import { endianness } from "node:os";
import koffi from "koffi";
import { assert } from "../../base/assert.ts";
import { systemError } from "../../base/system-error.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2_000_000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const TEXT_BYTES_MAX = 256;

const libc = koffi.load(null);
const socketpair = libc.func("int socketpair(int domain, int type, int protocol, void *pair)") as (
  domain: number,
  type: number,
  protocol: number,
  pair: Int32Array,
) => number;
type MessageCall = (fd: number, message: Uint8Array, flags: number) => number;
const recvmsg = libc.func("long recvmsg(int fd, void *message, int flags)") as MessageCall;
const sendmsg = libc.func("long sendmsg(int fd, void *message, int flags)") as MessageCall;

/** Two ends. `packets`: each message arrives by itself; neither end is inherited unless it is passed on. Throws SystemError. */
export function socketPair(packets: boolean): [number, number] {
  const pair = new Int32Array(2);
  const type = packets ? SOCK_SEQPACKET | SOCK_CLOEXEC : SOCK_STREAM;
  if (socketpair(AF_UNIX, type, 0, pair) !== 0) throw systemError("socketpair");
  return [pair[0] as number, pair[1] as number];
}

/** Where everything lies in the one buffer of a message: what struct msghdr points to comes right behind it. */
const AT = { vector: 56, control: 72, text: 96 } as const;
const CONTROL_BYTES = AT.text - AT.control; // One cmsghdr (16 bytes) with one descriptor, aligned to 8.

/** A struct msghdr with room for text of so many bytes and, if asked for, for one descriptor. */
function newMessage(textBytes: number, withDescriptor: boolean): Buffer {
  assert(endianness() === "LE", "struct msghdr is laid out for little-endian 64-bit machines");
  const message = Buffer.alloc(AT.text + textBytes);
  const address = koffi.address(message);
  message.writeBigUInt64LE(address + BigInt(AT.vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(address + BigInt(AT.text), AT.vector);
  message.writeBigUInt64LE(BigInt(textBytes), AT.vector + 8);
  if (!withDescriptor) return message;
  message.writeBigUInt64LE(address + BigInt(AT.control), 32);
  message.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
  return message;
}

/** The socket is full, or as many descriptors are under way as may be: that passes when the other side reads. */
const NO_ROOM: ReadonlySet<string | undefined> = new Set(["EAGAIN", "ENOBUFS", "ENOMEM", "ETOOMANYREFS"]);

/**
 * Sends words, with a descriptor if one is given. Never waits: false when there is no room for it now. Throws SystemError when it can't
 * be sent.
 */
export function sendDescriptor(socket: number, words: string, fd: number | undefined): boolean {
  const text = Buffer.from(words);
  assert(text.length > 0 && text.length <= TEXT_BYTES_MAX, "words for a socket are too long");
  const message = newMessage(text.length, fd !== undefined);
  text.copy(message, AT.text);
  if (fd !== undefined) {
    message.writeBigUInt64LE(20n, AT.control);
    message.writeInt32LE(SOL_SOCKET, AT.control + 8);
    message.writeInt32LE(SCM_RIGHTS, AT.control + 12);
    message.writeInt32LE(fd, AT.control + 16);
  }
  if (sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
  const error = systemError("sendmsg");
  if (NO_ROOM.has(error.code)) return false;
  throw error;
}

/**
 * Receives one message: its words, and its descriptor if it has one. Undefined when the other side closed, or, unless `waits`,
 * when there is none now. `inherited`: the descriptor stays open in programs that are started. Throws SystemError.
 */
export function receiveDescriptor(
  socket: number,
  waits: boolean,
  inherited = false,
): { readonly words: string; readonly fd: number | undefined } | undefined {
  const message = newMessage(TEXT_BYTES_MAX, true);
  const count = recvmsg(socket, message, (inherited ? 0 : MSG_CMSG_CLOEXEC) | (waits ? 0 : MSG_DONTWAIT));
  if (count < 0) {
    const error = systemError("recvmsg");
    if (error.code === "EAGAIN") return undefined;
    throw error;
  }
  if (count === 0) return undefined;
  const hasDescriptor =
    message.readInt32LE(AT.control + 8) === SOL_SOCKET && message.readInt32LE(AT.control + 12) === SCM_RIGHTS;
  return {
    words: message.toString("utf8", AT.text, AT.text + count),
    fd: hasDescriptor ? message.readInt32LE(AT.control + 16) : undefined,
  };
}
