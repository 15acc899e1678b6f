// The server: listens, takes connections in up to a bound, and comes to an end in which everything under way is finished,
// answered and flushed.

import { rmSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { type ListenAddress, formatListenAddress } from "./listen-address.ts";
import type { Visitor } from "./visitor.ts";

/** A dead host is noticed after about twice this, and its lease given back. */
const KEEPALIVE_MS = 15_000;

export class NbdServer {
  readonly #options: ConnectionOptions;
  readonly #listeners: Server[] = [];
  readonly #connections = new Set<Connection>();
  #nextNumber = 1;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Listens; gives the address with the port that was taken. Rejects with the system's error, one line naming the address. */
  async listen(address: ListenAddress): Promise<ListenAddress> {
    if (address.kind === "unix") await removeDeadSocket(address.path);
    const listener = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      listener.once("error", (error: NodeJS.ErrnoException) =>
        reject(new Error(`${formatListenAddress(address)}: can't listen here: ${reasonOf(error)}`)),
      );
      if (address.kind === "unix") listener.listen(address.path, resolve);
      else listener.listen(address.port, address.host, resolve);
    });
    listener.on("error", (error) => this.#options.log(`${formatListenAddress(address)}: ${error.message}`));
    this.#listeners.push(listener);
    return address.kind === "unix" ? address : { ...address, port: (listener.address() as AddressInfo).port };
  }

  /** Accepts nobody any more, answers what is under way, hangs up, and flushes every export. Gives the failures of that. */
  async drain(): Promise<Error[]> {
    const closed = this.#listeners.map((listener) => new Promise<void>((resolve) => listener.close(() => resolve())));
    await Promise.all([...this.#connections].map((connection) => connection.drain()));
    await Promise.all(closed);
    const flushes = await Promise.allSettled(this.#options.catalogue.exports.map((served) => served.flush()));
    return flushes.flatMap((flush) => (flush.status === "rejected" ? [flush.reason as Error] : []));
  }

  #accept(socket: Socket): void {
    const { catalogue, limits, log } = this.#options;
    socket.on("error", () => undefined);
    const visitor: Visitor = { number: this.#nextNumber++, address: addressOf(socket), identity: undefined };
    const refusal = !catalogue.admits(visitor)
      ? "is not allowed"
      : this.#connections.size >= limits.connectionsMax
        ? `would be one connection more than ${limits.connectionsMax}`
        : undefined;
    if (refusal !== undefined) {
      log(`${visitor.address ?? `client ${visitor.number}`}: ${refusal}; hung up on`);
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    const connection = new Connection(socket, visitor, this.#options);
    this.#connections.add(connection);
    void connection.ended.then(() => this.#connections.delete(connection));
  }
}

function addressOf(socket: Socket): string | undefined {
  // A v4 client of a v6 socket.
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "");
}

/** A server that was killed leaves its socket's name behind. One that answers keeps it, and listening fails. */
async function removeDeadSocket(path: string): Promise<void> {
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
  if (isDead) rmSync(path, { force: true });
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program does",
  EADDRNOTAVAIL: "this machine does not have the address",
  EACCES: "permission denied",
  ENOTFOUND: "no such host",
};

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return REASONS[code ?? ""] ?? message;
}
