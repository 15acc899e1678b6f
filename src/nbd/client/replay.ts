// What a new connection goes through before requests do: the node at its end is recognised, and all writes that no flush
// covers are written again, in an order that lets the latest win, and flushed. Then it is where the old one was.

import { ContentLostError } from "../../device/device.ts";
import { Command } from "../wire/constants.ts";
import type { Connection } from "./connection.ts";
import type { ReadNow } from "./identity.ts";
import type { KeptWrites } from "./kept-writes.ts";
import { type Asked, plainTransaction, type Transaction, writeAgain } from "./transaction.ts";

export interface ReplayParts {
  readonly name: string;
  readonly kept: KeptWrites;
  /** Rejects when the connection is over. */
  readonly over: Promise<never>;
  /** Rejects when this is not the node that it has to be. */
  readonly recognise: (read: ReadNow) => Promise<void>;
  readonly nextCookie: () => number;
}

type Make = (asked: Asked) => Transaction;

/**
 * Resolves with how many writes were sent again. Rejects with ContentLostError when the server does not take them, and with
 * whatever is the matter when the connection does not last or the node is another one.
 */
export async function bringUpToDate(connection: Connection, parts: ReplayParts): Promise<number> {
  const { kept, over, recognise, nextCookie } = parts;
  /** The error the server answers with, if any. */
  const ask = (offsetBytes: number, lengthBytes: number, make: Make): Promise<string | undefined> => {
    const answered = new Promise<string | undefined>((settle) =>
      connection.send(make({ cookie: nextCookie(), offsetBytes, lengthBytes, startedMs: 0, settle })),
    );
    return Promise.race([answered, over]);
  };
  const insist = async (offsetBytes: number, lengthBytes: number, make: Make): Promise<void> => {
    const error = await ask(offsetBytes, lengthBytes, make);
    if (error === undefined) return;
    const detail = `its server came back and does not take again what it had taken: ${error}`;
    throw new ContentLostError(parts.name, "write", offsetBytes, error, detail);
  };

  await recognise(async (offsetBytes, target) => {
    const error = await ask(offsetBytes, target.length, (asked) => plainTransaction(asked, Command.READ, 0, [target]));
    if (error !== undefined) throw new Error(`its server says ${error} to the first read`);
  });
  if (kept.count === 0) return 0;
  const waves = kept.waves();
  for (const wave of waves) {
    await Promise.all(
      wave.map((write) => insist(write.offsetBytes, write.lengthBytes, (asked) => writeAgain(write, asked))),
    );
  }
  await insist(0, 0, (asked) => plainTransaction(asked, Command.FLUSH));
  return waves.reduce((sum, { length }) => sum + length, 0);
}
