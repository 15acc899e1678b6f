// The connections a link goes by: a first one, and others beside it where the server says that a flush on one of them covers what
// was answered on any. A request goes by the one that has least to do. They stand and fall together: whatever ends one of them may
// have ended the server, and what that had not flushed is gone then, by whichever it was written.
// Invariant I1: none of them leads to a server that was started anew since the others were made (widening.ts sees to that).

import type { Connection } from "./connection.ts";
import type { Transaction } from "./transaction.ts";

export class Bundle {
  readonly first: Connection;
  readonly #connections: Connection[];

  constructor(first: Connection) {
    this.first = first;
    this.#connections = [first];
  }

  get count(): number {
    return this.#connections.length;
  }

  includes(connection: Connection): boolean {
    return this.#connections.includes(connection);
  }

  /** One more; let go of if the others are no more. */
  add(connection: Connection): void {
    if (this.isOver) connection.destroy();
    else this.#connections.push(connection);
  }

  /** One of them is over, and so they all are. */
  get isOver(): boolean {
    return this.#connections.some(({ isOver }) => isOver);
  }

  /** Requests sent and not answered. */
  get inFlight(): number {
    return this.#connections.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /** This request was sent and not answered. */
  has(cookie: number): boolean {
    return this.#connections.some((connection) => connection.has(cookie));
  }

  /** All that was ever received: as long as it grows the server is alive. */
  get receivedBytes(): number {
    return this.#connections.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0);
  }

  send(transaction: Transaction): void {
    let least = this.first;
    for (const connection of this.#connections) if (connection.inFlight < least.inFlight) least = connection;
    least.send(transaction);
  }

  /** Resolves when nothing is under way, or all is over. */
  async drained(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.drained()));
  }

  /** Says goodbye and leaves; resolves when the server has heard it. For when nothing is under way. */
  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  /** Leaves at once; nobody is told. */
  destroy(): void {
    for (const connection of this.#connections) connection.destroy();
  }
}
