// A stream to one address. Nothing is said over it yet.

import { connect, type Socket } from "node:net";
import { NbdClosedError } from "../wire/errors.ts";
import { formatAddress, type RemoteAddress } from "../target.ts";

/** So long a connection may be idle before the system asks whether the other end is still there. */
const KEEP_ALIVE_MS = 5000;

/** Connects; rejects with NbdClosedError. The caller bounds how long that takes by destroying what `onSocket` gives. */
export function dial(address: RemoteAddress, onSocket: (socket: Socket) => void): Promise<Socket> {
  const socket =
    "socketPath" in address
      ? connect({ path: address.socketPath })
      : connect({
          host: address.host,
          port: address.port,
          noDelay: true,
          keepAlive: true,
          keepAliveInitialDelay: KEEP_ALIVE_MS,
        });
  onSocket(socket);
  return new Promise((resolve, reject) => {
    const fail = (cause?: Error): void =>
      reject(new NbdClosedError(`connecting to ${formatAddress(address)}`, true, cause));
    socket.once("error", fail);
    socket.once("close", () => fail());
    socket.once("connect", () => {
      socket.off("error", fail);
      // Whoever reads learns of errors; one that comes while nobody does must not end the process.
      socket.on("error", () => undefined);
      resolve(socket);
    });
  });
}
