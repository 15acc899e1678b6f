// The server: listens, takes connections in up to a bound for those with an export open and another one for those without, and comes to an end in which everything under way is finished,
// answered and flushed.

import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { removeDeadSocket } from "../../base/dead-socket.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { type ListenAddress, formatListenAddress } from "./listen-address.ts";
import { labelOf, type Visitor } from "./visitor.ts";

/** A dead host is noticed after about twice this, and its lease given back. */
const KEEPALIVE_MS = 15_000;

export class NbdServer {
  readonly #options: ConnectionOptions;
  readonly #listeners: Server[] = [];
  readonly #connections = new Set<Connection>();
  #nextNumber = 1;

  constructor(options: Omit<ConnectionOptions, "hasRoom">) {
    const { connectionsMax } = options.limits;
    const open = (): number => [...this.#connections].filter(({ isOpen }) => isOpen).length;
    this.#options = { ...options, hasRoom: () => open() < connectionsMax };
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
    if (!catalogue.admits(visitor)) {
      log(`${labelOf(visitor)}: is not allowed; hung up on`);
      socket.destroy();
      return;
    }
    // Whoever only connects must not keep others out: who is about it for longest goes.
    const [oldest, ...others] = [...this.#connections].filter(({ isOpen }) => !isOpen);
    if (others.length + 1 >= limits.connectionsMax) oldest?.makeWay();
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

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program does",
  EADDRNOTAVAIL: "this machine does not have the address",
  EACCES: "permission denied",
  ENOTFOUND: "no such host",
};

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return REASONS[code ?? ""] ?? message;
}
