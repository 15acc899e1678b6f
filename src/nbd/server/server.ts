// The server: listens, takes connections in up to a bound for those with an export open and another one for those without, and
// comes to an end in which everything under way is finished, answered and flushed, but for what a device holds up: no export waits
// for the device of another one (I9).

import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { removeDeadSocket } from "../../base/dead-socket.ts";
import { asError } from "../../base/thrown.ts";
import { withinLimit } from "../../base/time-limit.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { noticeDeadHost } from "./dead-host.ts";
import type { Export } from "./export.ts";
import { type ListenAddress, formatListenAddress } from "./listen-address.ts";
import { labelOf, type Visitor } from "./visitor.ts";

/** So long a connection may be idle before the system asks whether its other end is still there. */
const KEEPALIVE_MS = 15_000;
/** A dead host is noticed after this, and its lease given back. */
const DEAD_MS = 30_000;

/** An export that has not got everything durable at the end. */
export interface Undurable {
  readonly served: Export;
  readonly reason: Error;
  /** Its device holds a call up: closing it would wait for that. */
  readonly isHeldUp: boolean;
}

export class NbdServer {
  readonly #options: ConnectionOptions;
  readonly #listeners: Server[] = [];
  readonly #connections = new Set<Connection>();
  #nextNumber = 1;

  constructor(options: Omit<ConnectionOptions, "hasRoom">) {
    const { connectionsMax } = options.limits;
    const open = (): number => [...this.#connections].filter(({ served }) => served !== undefined).length;
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

  /** Cuts off whoever has this export open. */
  cut(served: Export): void {
    for (const connection of this.#connections)
      if (connection.served === served) connection.cut("what it is on is away");
  }

  /** Accepts nobody any more, answers what is under way, hangs up, and flushes every export. Gives those that are not durable. */
  async drain(): Promise<Undurable[]> {
    const closed = this.#listeners.map((listener) => new Promise<void>((resolve) => listener.close(() => resolve())));
    const leaving = new Map([...this.#connections].map((connection) => [connection, connection.drain()]));
    const ends = this.#options.catalogue.exports.map((served) => {
      const own = [...leaving].filter(([connection]) => connection.served === served);
      return this.#end(served, Promise.all(own.map(([, isFinished]) => isFinished)));
    });
    await Promise.all([...closed, ...leaving.values()]);
    return (await Promise.all(ends)).filter((end) => end !== undefined);
  }

  /** Flushes an export once its connections have left, if all have finished. */
  async #end(served: Export, leaving: Promise<boolean[]>): Promise<Undurable | undefined> {
    const { clock, limits } = this.#options;
    const silent = (ms: number): Error => new Error(`${served.device.name}: no answer within ${ms / 1000} s`);
    if ((await leaving).includes(false)) return { served, reason: silent(limits.drainMs), isHeldUp: true };
    if (served.isAway) {
      // Nobody could have written there.
      if (served.readOnly) return undefined;
      return { served, reason: new Error("the server that it is on is away"), isHeldUp: false };
    }
    let isHeldUp = false;
    try {
      await withinLimit(served.flush(), { clock, ms: limits.flushMs }, () => {
        isHeldUp = true;
        return silent(limits.flushMs);
      });
      return undefined;
    } catch (error) {
      return { served, reason: asError(error), isHeldUp };
    }
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
    const [oldest, ...others] = [...this.#connections].filter(({ served }) => served === undefined);
    if (others.length + 1 >= limits.connectionsMax) oldest?.makeWay();
    socket.setNoDelay(true);
    noticeDeadHost(socket, KEEPALIVE_MS, DEAD_MS);
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
  EADDRINUSE: "another program does, or something else has that name",
  EADDRNOTAVAIL: "this machine does not have the address",
  EACCES: "permission denied",
  ENOTFOUND: "no such host",
};

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  return REASONS[code ?? ""] ?? message;
}
