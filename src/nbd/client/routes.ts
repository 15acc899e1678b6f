// The addresses of one export, tried in order. Whichever answers first leads to the node; that it is the same node is found
// out by its header, not here.

import type { Socket } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { withinLimit } from "../../base/time-limit.ts";
import { formatAddress, type RemoteAddress, type RemoteTarget } from "../target.ts";
import { dial } from "./dial.ts";
import { encrypt } from "./encryption.ts";
import type { LeaseContext } from "../wire/lease-context.ts";
import { Negotiation } from "./negotiation.ts";
import type { Reached, Way } from "./way.ts";

export interface RoutesOptions {
  readonly clock: Clock;
  /** Who we are, for a server of ours. */
  readonly lease: LeaseContext;
}

export class Routes implements Way {
  readonly #target: RemoteTarget;
  readonly #clock: Clock;
  readonly #lease: LeaseContext;
  readonly #sockets = new Set<Socket>();
  #closed = false;

  constructor(target: RemoteTarget, { clock, lease }: RoutesOptions) {
    this.#target = target;
    this.#clock = clock;
    this.#lease = lease;
  }

  async reach(attemptMs: number): Promise<Reached> {
    let failure: unknown;
    for (const address of this.#target.addresses) {
      try {
        return await this.#attempt(address, attemptMs, async (negotiation) => ({
          opened: await negotiation.open(),
          address: formatAddress(address),
        }));
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Negotiates with one address; the socket is left open only when `work` succeeds. */
  async #attempt<T>(
    address: RemoteAddress,
    attemptMs: number,
    work: (negotiation: Negotiation) => Promise<T>,
  ): Promise<T> {
    const clock = this.#clock;
    const { tls, exportName } = this.#target;
    let socket: Socket | undefined;
    const negotiate = async (): Promise<T> => {
      const stream = await dial(address, (made) => {
        socket = made;
        if (this.#closed) made.destroy();
        this.#sockets.add(made);
      });
      const host = "host" in address ? address.host : undefined;
      const negotiation = await Negotiation.begin(stream, {
        exportName,
        clock,
        lease: this.#lease,
        encrypt: tls === undefined ? undefined : (plain) => encrypt(plain, tls, host),
      });
      return work(negotiation);
    };
    try {
      const late = (): Error => new Error(`${formatAddress(address)} does not answer (waited ${attemptMs} ms)`);
      return await withinLimit(negotiate(), { clock, ms: attemptMs }, late);
    } catch (error) {
      socket?.destroy();
      throw error;
    } finally {
      if (socket !== undefined) this.#sockets.delete(socket);
    }
  }
}
