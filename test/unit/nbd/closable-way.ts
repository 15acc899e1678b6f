// The way to a server in memory, for tests of the client that have its link under virtual time: it can be closed, cut and held up, and
// it counts when it was tried.

import type { Duplex } from "node:stream";
import type { Clock } from "../../../src/base/clock.ts";
import { Negotiation } from "../../../src/nbd/client/negotiation.ts";
import type { OpenExport } from "../../../src/nbd/client/terms.ts";
import type { Reached, Way } from "../../../src/nbd/client/way.ts";
import { NbdClosedError } from "../../../src/nbd/wire/errors.ts";
import { quiet } from "./quiet.ts";

const OWNER = "0123456789abcdef";

export class ClosableWay implements Way {
  readonly #clock: Clock;
  readonly #connect: () => Duplex;
  readonly addresses = ["the server"];
  /** When it was tried. */
  readonly triedMs: number[] = [];
  isOpen = true;
  /** The server has no leases. */
  isForeign = false;
  /** Nobody gets there before. */
  passable: Promise<void> = Promise.resolve();
  /** Nobody learns before that a further connection is there. */
  beside: Promise<void> = Promise.resolve();
  /** To be called when another address is better. */
  onBetter: (address: string) => void = () => undefined;
  #stream: Duplex | undefined;

  /** `connect` makes a stream to the server there is then. */
  constructor(clock: Clock, connect: () => Duplex) {
    this.#clock = clock;
    this.#connect = connect;
  }

  async reach(): Promise<Reached> {
    this.triedMs.push(this.#clock.monotonicMs());
    if (!this.isOpen) throw new NbdClosedError("connecting", true);
    await this.passable;
    this.#stream = this.#connect();
    const opened = await this.#open(this.#stream, 0);
    const another = async (slot: number): Promise<OpenExport> => {
      const beside = await this.#open(this.#connect(), slot);
      await this.beside;
      return beside;
    };
    return { opened, address: "the server", another };
  }

  async #open(stream: Duplex, slot: number): Promise<OpenExport> {
    const lease = { kind: "owner", owner: OWNER, slot } as const;
    const negotiation = await Negotiation.begin(stream, {
      exportName: "x",
      clock: this.#clock,
      lease,
      encrypt: undefined,
    });
    const opened = await negotiation.open();
    return { ...opened, terms: { ...opened.terms, ...(this.isForeign && { lease: undefined }) } };
  }

  /** It can be connected anew at once. */
  drop(): void {
    this.#stream?.destroy();
  }

  /** Until the server has noticed, too. */
  async cut(): Promise<void> {
    this.isOpen = false;
    this.triedMs.length = 0;
    this.#stream?.destroy();
    await quiet();
  }

  blame(): void {}
  watch(_: string, onBetter: (address: string) => void): void {
    this.onBetter = onBetter;
  }
  close(): void {}
  answers(): Promise<boolean> {
    return Promise.resolve(this.isOpen);
  }
}
