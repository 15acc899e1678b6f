// What a new connection goes through before requests do: the node at its end is recognised, and, if there is no other connection,
// all writes that no flush covers are written again, in an order that lets the latest win, and flushed. Then it is where the old
// one was.
// Invariants: I1 (nothing goes on before all of them are durable), I11 (none of them goes out late).

import type { Clock, Timer } from "../../base/clock.ts";
import { ContentLostError, DeviceError } from "../../device/device.ts";
import { Command } from "../wire/constants.ts";
import { Connection } from "./connection.ts";
import type { ReadNow } from "./identity.ts";
import { flushMs, type RemotePolicy, silenceMs } from "./policy.ts";
import type { Requests } from "./requests.ts";
import { LATE, type Tenure } from "./tenure.ts";
import type { OpenExport } from "./terms.ts";
import { type Asked, plainTransaction, type Transaction, writeAgain } from "./transaction.ts";

export interface AdoptionOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly policy: RemotePolicy;
  readonly requests: Requests;
  readonly tenure: Tenure;
  /** There is no other one: the server may be another one than before. */
  readonly isFirst: boolean;
  /** Rejects when this is not the node that it has to be. */
  readonly recognise: (read: ReadNow) => Promise<void>;
  /** It is up to date; with the number of writes that were sent again. Requests may go out at once. */
  readonly onReady: (connection: Connection, keptWrites: number) => void;
  /** It is over, having been up to date. */
  readonly onLost: (connection: Connection, reason: Error) => void;
}

type Make = (asked: Asked) => Transaction;

export class Adoption {
  readonly #options: AdoptionOptions;
  readonly #connection: Connection;
  /** Rejects when the connection ends before it is up to date. */
  readonly #over: Promise<never>;
  #end: (reason: Error) => void = () => undefined;
  #lost: Error | undefined;
  #isReady = false;
  #silence: Timer | undefined;

  constructor(opened: OpenExport, options: AdoptionOptions) {
    this.#options = options;
    this.#over = new Promise<never>((_, reject) => {
      this.#end = (reason) => reject((this.#lost ??= reason));
    });
    this.#over.catch(() => undefined);
    this.#connection = new Connection(opened, {
      onAnswer: (transaction, error) => transaction.settle(error),
      onLost: (reason) => (this.#isReady ? options.onLost(this.#connection, reason) : this.#end(reason)),
    });
  }

  /**
   * Resolves when `onReady` was called. Rejects with ContentLostError when the server does not take writes again, with DeviceError
   * when they come too late, and with whatever is the matter when the connection does not last or the node is another one.
   */
  async run(): Promise<void> {
    const { requests, onReady } = this.#options;
    try {
      this.#listen();
      const covered = requests.kept.lastNumber;
      const keptWrites = await Promise.race([this.#bringUpToDate(), this.#over]);
      // It may have ended in the very moment in which the last answer came.
      if (this.#lost !== undefined) throw this.#lost;
      if (keptWrites > 0) requests.flushed(covered);
      this.#isReady = true;
      onReady(this.#connection, keptWrites);
    } catch (error) {
      this.#connection.destroy();
      throw error;
    } finally {
      this.#silence?.cancel();
    }
  }

  /** Ends it, if it is under way. */
  abandon(): void {
    if (this.#isReady) return;
    this.#connection.destroy();
    this.#end(new Error("the node was given up"));
  }

  async #bringUpToDate(): Promise<number> {
    const { recognise, requests, isFirst } = this.#options;
    await recognise(async (offsetBytes, target) => {
      const error = await this.#ask(offsetBytes, target.length, (asked) =>
        plainTransaction(asked, Command.READ, 0, [target]),
      );
      if (error !== undefined) throw new Error(`its server says ${error} to the first read`);
    });
    if (requests.kept.count === 0 || !isFirst) return 0;
    const waves = requests.kept.waves();
    for (const wave of waves) {
      await Promise.all(
        wave.map((write) => this.#insist(write.offsetBytes, write.lengthBytes, (asked) => writeAgain(write, asked))),
      );
    }
    const flushed = this.#insist(0, 0, (asked) => plainTransaction(asked, Command.FLUSH));
    this.#listen(flushMs(this.#options.policy));
    await flushed;
    return waves.reduce((sum, { length }) => sum + length, 0);
  }

  async #insist(offsetBytes: number, lengthBytes: number, make: Make): Promise<void> {
    const { name, tenure, clock } = this.#options;
    if (!tenure.mayWrite(clock.monotonicMs())) throw new DeviceError(name, "write", offsetBytes, "ESTALE", LATE);
    const error = await this.#ask(offsetBytes, lengthBytes, make);
    if (error === undefined) return;
    const detail = `its server came back and does not take again what it had taken: ${error}`;
    throw new ContentLostError(name, "write", offsetBytes, error, detail);
  }

  /** The error the server answers with, if any. */
  #ask(offsetBytes: number, lengthBytes: number, make: Make): Promise<string | undefined> {
    const cookie = this.#options.requests.nextCookie();
    const answered = new Promise<string | undefined>((resolve) => {
      const settle = (error: string | undefined): void => {
        this.#listen();
        resolve(error);
      };
      this.#connection.send(make({ cookie, offsetBytes, lengthBytes, startedMs: 0, settle }));
    });
    return Promise.race([answered, this.#over]);
  }

  /** From now on, silence counts: from one answer to the next. How much there is to be written is no fault of the server's. */
  #listen(durationMs = silenceMs(this.#options.policy)): void {
    this.#silence?.cancel();
    if (this.#isReady) return;
    this.#silence = this.#options.clock.after(durationMs, () => {
      this.#end(new Error(`no answer within ${durationMs} ms`));
    });
  }
}
