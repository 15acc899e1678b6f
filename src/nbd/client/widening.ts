// Further connections beside the first one, where the server allows for them. Each is made with the very server that the first
// one leads to, and taken only when that has answered by the first one afterwards: a server that was started anew in between may
// have lost what it had not flushed, and a flush by the new connection would not know (I1). One that can't be made costs nothing
// but itself: the link goes on with those it has.

import { messageOf } from "../../base/thrown.ts";
import { Command, TransmissionFlag } from "../wire/constants.ts";
import { FIRST_SLOT } from "../wire/lease-context.ts";
import { Adoption } from "./adoption.ts";
import type { Bundle } from "./bundle.ts";
import type { Connection } from "./connection.ts";
import type { NodeEvent } from "./events.ts";
import type { NodeIdentity } from "./identity.ts";
import { attemptMs } from "./policy.ts";
import { NbdRefusedError } from "./refused-error.ts";
import type { Requests } from "./requests.ts";
import type { Tenure } from "./tenure.ts";
import { offers, stillHolds, type Terms } from "./terms.ts";
import { plainTransaction } from "./transaction.ts";
import type { LinkOptions, Reached } from "./way.ts";

/** A connection that does not last so long, so many times in a row, is better done without. */
const TRIAL_MS = 10_000;
const LOST_SOON_MAX = 3;

export interface Widened {
  readonly terms: Terms;
  readonly requests: Requests;
  readonly identity: NodeIdentity;
  readonly tenure: Tenure;
  /** A connection that was taken is over. */
  readonly onLost: (connection: Connection, reason: Error) => void;
  readonly emit: (event: NodeEvent) => void;
}

export class Widening {
  readonly #options: LinkOptions;
  readonly #link: Widened;
  readonly #adoptions = new Set<Adoption>();
  #lostSoon = 0;
  /** Resolves when no connection is being made any more. Never rejects. */
  settled: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions, link: Widened) {
    this.#options = options;
    this.#link = link;
  }

  /** Adds connections to a bundle whose first one was just made, as many as the policy says. */
  widen(bundle: Bundle, reached: Reached): void {
    this.settled = Promise.all([this.settled, this.#widen(bundle, reached)]).then(() => undefined);
  }

  async #widen(bundle: Bundle, reached: Reached): Promise<void> {
    const wanted = this.#options.policy.connections;
    const mayBe = offers(reached.opened.terms, TransmissionFlag.CAN_MULTI_CONN) && this.#lostSoon < LOST_SOON_MAX;
    if (wanted < 2 || !mayBe) return;
    let trouble: string | undefined;
    const slots = Array.from({ length: wanted - 1 }, (_, i) => FIRST_SLOT + 1 + i);
    await Promise.all(
      slots.map((slot) =>
        this.#join(bundle, reached, slot).catch((error: unknown) => {
          trouble ??= messageOf(error);
        }),
      ),
    );
    if (bundle.isOver) return;
    this.#link.emit({ kind: "widened", address: reached.address, connections: bundle.count, wanted, trouble });
  }

  /** The bundle is over: nothing that is still being made is for it. */
  abandon(): void {
    for (const adoption of this.#adoptions) adoption.abandon();
  }

  async #join(bundle: Bundle, reached: Reached, slot: number): Promise<void> {
    const { terms, requests, identity, tenure } = this.#link;
    const { name, clock, policy } = this.#options;
    const opened = await reached.another(slot, attemptMs(policy));
    const isSame =
      stillHolds(terms, opened.terms) &&
      opened.terms.lease === reached.opened.terms.lease &&
      opened.terms.allocationContext === reached.opened.terms.allocationContext;
    if (bundle.isOver || !isSame) {
      opened.destroy();
      throw new NbdRefusedError("another-node", "its server offers another export to a further connection");
    }
    let joinedMs = Infinity;
    const adoption = new Adoption(opened, {
      ...{ name, clock, policy, requests, tenure, isFirst: false },
      recognise: async (read) => {
        await identity.expect(read);
        await this.#answersByFirst(bundle);
      },
      onReady: (connection) => {
        joinedMs = clock.monotonicMs();
        bundle.add(connection);
      },
      onLost: (connection, reason) => {
        this.#lostSoon = clock.monotonicMs() - joinedMs < TRIAL_MS ? this.#lostSoon + 1 : 0;
        this.#link.onLost(connection, reason);
      },
    });
    this.#adoptions.add(adoption);
    await adoption.run().finally(() => this.#adoptions.delete(adoption));
  }

  /** Resolves when the server has answered by the first connection; whoever waits bounds that. */
  #answersByFirst(bundle: Bundle): Promise<void> {
    const { requests, terms } = this.#link;
    const { minimumBytes: lengthBytes } = terms;
    return new Promise((resolve, reject) => {
      const settle = (error: string | undefined): void =>
        error === undefined ? resolve() : reject(new Error(`its server says ${error} by the first connection`));
      const asked = { cookie: requests.nextCookie(), offsetBytes: 0, lengthBytes, startedMs: 0, settle };
      bundle.first.send(plainTransaction(asked, Command.READ, 0, [new Uint8Array(lengthBytes)]));
    });
  }
}
