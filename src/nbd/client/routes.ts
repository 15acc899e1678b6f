// The addresses of one export, and which of them to go by: the best that lives, by latency, then by their order. While a
// connection is in use the others are looked at now and then, without opening the export there, so that a better one that
// returns is noticed. That all of them lead to one node is found out by its header, not here.

import type { Socket } from "node:net";
import type { Clock, Timer } from "../../base/clock.ts";
import { withinLimit } from "../../base/time-limit.ts";
import type { RemoteAddress, RemoteTarget } from "../target.ts";
import type { LeaseContext } from "../wire/lease-context.ts";
import { dial } from "./dial.ts";
import { encrypt } from "./encryption.ts";
import { Negotiation } from "./negotiation.ts";
import { NbdRefusedError } from "./refused-error.ts";
import { isBetter, Route } from "./route.ts";
import type { OpenExport } from "./terms.ts";
import type { Reached, Way } from "./way.ts";

export interface RoutesOptions {
  readonly clock: Clock;
  /** Who we are, for a server of ours. */
  readonly lease: LeaseContext;
}

/** The first address that answers is not taken before others that may be better had as much time again. */
const GRACE_MS = 10;
/** How often the addresses not in use are looked at, and how long each may take. */
const LOOK_MS = 2000;
/** In so many looks in a row an address must have been better. */
const LOOKS_BEFORE_CHANGE = 2;

export class Routes implements Way {
  readonly #target: RemoteTarget;
  readonly #options: RoutesOptions;
  readonly #routes: readonly Route[];
  readonly #sockets = new Set<Socket>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(target: RemoteTarget, options: RoutesOptions) {
    this.#target = target;
    this.#options = options;
    this.#routes = target.addresses.map((address, order) => new Route(address, order));
  }

  get addresses(): readonly string[] {
    return this.#routes.map(({ name }) => name);
  }

  async reach(attemptMs: number): Promise<Reached> {
    this.#timer?.cancel();
    const [only, ...more] = this.#routes;
    if (only !== undefined && more.length === 0) return this.#open(only, attemptMs);
    const tried = new Set<Route>();
    let failure: unknown;
    const looks = this.#routes.map((route) =>
      this.#look(route, attemptMs).catch((error: unknown) => void (failure ??= error)),
    );
    await this.#firstLives(looks);
    for (const wait of [undefined, Promise.all(looks)]) {
      // Those that took longer come second.
      await wait;
      for (const route of this.#routes.filter(({ lives }) => lives).sort((a, b) => (isBetter(a, b) ? -1 : 1))) {
        if (tried.has(route)) continue;
        tried.add(route);
        try {
          return await this.#open(route, attemptMs);
        } catch (error) {
          failure = error;
          // It answers, and does not lead to the export: however near it is, the others come first.
          if (error instanceof NbdRefusedError && error.kind !== "shutting-down") route.blamed++;
        }
      }
    }
    throw failure ?? new Error("none of its addresses answers");
  }

  blame(address: string): void {
    for (const route of this.#routes) if (route.name === address) route.blamed++;
  }

  async answers(address: string, limitMs: number): Promise<boolean> {
    const route = this.#routes.find(({ name }) => name === address);
    if (route === undefined) return false;
    return this.#look(route, limitMs).then(
      () => true,
      () => false,
    );
  }

  watch(address: string, onBetter: (address: string) => void): void {
    this.#timer?.cancel();
    const current = this.#routes.find(({ name }) => name === address);
    if (current === undefined || this.#routes.length < 2 || this.#closed) return;
    current.blamed = 0;
    let candidate: Route | undefined;
    let seen = 0;
    const next = (): void => {
      const timer = this.#options.clock.after(LOOK_MS, () => {
        void Promise.all(this.#routes.map((route) => this.#look(route, LOOK_MS).catch(() => undefined))).then(() => {
          if (this.#timer !== timer || this.#closed) return;
          const best = this.#routes.reduce((a, b) => (isBetter(b, a) ? b : a), current);
          seen = best === candidate ? seen + 1 : 1;
          candidate = best;
          if (best !== current && seen >= LOOKS_BEFORE_CHANGE) return onBetter(best.name);
          next();
        });
      });
      this.#timer = timer;
    };
    next();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Resolves soon after the first address answered, or when all have failed. */
  async #firstLives(looks: readonly Promise<unknown>[]): Promise<void> {
    const startedMs = this.#options.clock.monotonicMs();
    const first = looks.map(async (look, i) => {
      await look;
      if (this.#routes[i]?.lives !== true) throw new Error("dead");
    });
    await Promise.any(first).catch(() => undefined);
    const tookMs = this.#options.clock.monotonicMs() - startedMs;
    const grace = new Promise<void>((resolve) => this.#options.clock.after(GRACE_MS + tookMs, resolve));
    await Promise.race([grace, Promise.all(looks)]);
  }

  /** Asks at one address what the export is like: it lives, and is so far away, if that is answered. */
  async #look(route: Route, limitMs: number): Promise<void> {
    try {
      const terms = await this.#attempt(route, limitMs, async (negotiation, socket) => {
        const found = await negotiation.look();
        // No longer than what was said last takes: the other end need not be through with it.
        socket.end(() => socket.destroy());
        return found;
      });
      route.answered(terms.roundTripMs);
    } catch (error) {
      route.failed();
      throw error;
    }
  }

  async #open(route: Route, limitMs: number): Promise<Reached> {
    try {
      let peer = route.address;
      const opened = await this.#attempt(route, limitMs, (negotiation, { remoteAddress, remotePort }) => {
        // A name may stand for several machines.
        if (remoteAddress !== undefined && remotePort !== undefined) peer = { host: remoteAddress, port: remotePort };
        return negotiation.open();
      });
      route.answered(opened.terms.roundTripMs);
      const another = (slot: number, attemptMs: number): Promise<OpenExport> =>
        this.#attempt(route, attemptMs, (negotiation) => negotiation.open(), { peer, slot });
      return { opened, address: route.name, another };
    } catch (error) {
      route.failed();
      throw error;
    }
  }

  /** Negotiates with one address, as `beside` says or by its name; the socket is left open only when `work` succeeds. */
  async #attempt<T>(
    { address, name }: Route,
    limitMs: number,
    work: (negotiation: Negotiation, socket: Socket) => Promise<T>,
    beside?: { readonly peer: RemoteAddress; readonly slot: number },
  ): Promise<T> {
    const { clock } = this.#options;
    const lease = beside === undefined ? this.#options.lease : { ...this.#options.lease, slot: beside.slot };
    const { tls, exportName } = this.#target;
    let socket: Socket | undefined;
    const negotiate = async (): Promise<T> => {
      const stream = await dial(beside?.peer ?? address, (made) => {
        socket = made;
        if (this.#closed) made.destroy();
        this.#sockets.add(made);
      });
      const host = "host" in address ? address.host : undefined;
      const negotiation = await Negotiation.begin(stream, {
        exportName,
        clock,
        lease,
        encrypt: tls === undefined ? undefined : (plain) => encrypt(plain, tls, host),
      });
      return work(negotiation, stream);
    };
    try {
      const late = (): Error => new Error(`${name} does not answer (waited ${limitMs} ms)`);
      return await withinLimit(negotiate(), { clock, ms: limitMs }, late);
    } catch (error) {
      socket?.destroy();
      throw error;
    } finally {
      if (socket !== undefined) this.#sockets.delete(socket);
    }
  }
}
