// What a connection makes of replies in pieces, where a request is sent again by another one.

import { duplexPair } from "node:stream";
import { describe, expect, it } from "vitest";
import { Connection } from "../../../src/nbd/client/connection.ts";
import { plainTransaction, type Transaction } from "../../../src/nbd/client/transaction.ts";
import { ByteSink } from "../../../src/nbd/wire/byte-sink.ts";
import { ByteSource } from "../../../src/nbd/wire/byte-source.ts";
import { encodeBlockStatus, type Extent } from "../../../src/nbd/wire/chunk.ts";
import { ChunkType, Command } from "../../../src/nbd/wire/constants.ts";
import { encodeChunk } from "../../../src/nbd/wire/reply.ts";

const CONTEXT = 7;
const cookie = { high: 0, low: 1 };

/** A connection to a server that says what the test says; `allocationContext` is its id of base:allocation. */
function connected(allocationContext = CONTEXT): {
  connection: Connection;
  say: (...chunks: Uint8Array[]) => Promise<void>;
  lost: Error[];
} {
  const [mine, theirs] = duplexPair();
  const lost: Error[] = [];
  const terms = {
    ...{ sizeBytes: 65536, flags: 0, minimumBytes: 1, maximumBytes: 65536, structured: true, roundTripMs: 0 },
    ...{ allocationContext, lease: undefined },
  };
  const destroy = (): void => void mine.destroy();
  const end = (): Promise<void> => Promise.resolve(destroy());
  const opened = { terms, source: new ByteSource(mine), sink: new ByteSink(mine), end, destroy };
  const connection = new Connection(opened, {
    onAnswer: (transaction, error) => transaction.settle(error),
    onLost: (reason) => void lost.push(reason),
  });
  const say = async (...chunks: Uint8Array[]): Promise<void> => {
    for (const chunk of chunks) theirs.write(chunk);
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { connection, say, lost };
}

function asked(): { transaction: Transaction; told: Extent[]; settled: (string | undefined)[] } {
  const told: Extent[] = [];
  const settled: (string | undefined)[] = [];
  const made = { cookie: 1, offsetBytes: 0, lengthBytes: 65536, startedMs: 0 };
  const settle = (error: string | undefined): void => void settled.push(error);
  const tell = (extents: readonly Extent[]): void => void told.push(...extents);
  return { transaction: plainTransaction({ ...made, settle }, Command.BLOCK_STATUS, 0, [], tell), told, settled };
}

const status = (lengthBytes: number, contextId = CONTEXT): Uint8Array =>
  encodeChunk(
    ChunkType.BLOCK_STATUS,
    cookie,
    false,
    encodeBlockStatus({ contextId, extents: [{ lengthBytes, flags: 0 }] }),
  );
const end = encodeChunk(ChunkType.NONE, cookie, true, new Uint8Array(0));

describe("a reply to BLOCK_STATUS", () => {
  it("counts when it is whole: what was told over a connection that was lost is not told once more", async () => {
    const { transaction, told, settled } = asked();
    const first = connected();
    first.connection.send(transaction);
    await first.say(status(1000));
    first.connection.destroy();
    const second = connected();
    second.connection.send(transaction);
    await second.say(status(4096), status(65536, 1), end);
    expect(told.map(({ lengthBytes }) => lengthBytes)).toEqual([4096]);
    expect(settled).toEqual([undefined]);
  });

  it("is understood by what the contexts are called on the connection that it comes by", async () => {
    const { transaction, told } = asked();
    const lost = connected(1);
    lost.connection.send(transaction);
    lost.connection.destroy();
    const { connection, say } = connected(2);
    connection.send(transaction);
    await say(status(1000, 1), status(4096, 2), end);
    expect(told.map(({ lengthBytes }) => lengthBytes)).toEqual([4096]);
  });

  it("is made use of from its beginning where it is longer than anybody needs, and the connection goes on", async () => {
    const { transaction, told, settled } = asked();
    const { connection, say, lost } = connected();
    connection.send(transaction);
    const extents = Array.from({ length: 32768 }, (_, i) => ({ lengthBytes: 2, flags: i % 2 }));
    const whole = encodeChunk(ChunkType.BLOCK_STATUS, cookie, true, encodeBlockStatus({ contextId: CONTEXT, extents }));
    await say(whole);
    expect(lost).toEqual([]);
    expect(settled).toEqual([undefined]);
    expect(told.length).toBeGreaterThan(1000);
    expect(told).toEqual(extents.slice(0, told.length));
    const next = asked();
    connection.send(next.transaction);
    await say(status(4096), end);
    expect(next.told.map(({ lengthBytes }) => lengthBytes)).toEqual([4096]);
  });

  it("is refused when it has more extents than bytes were asked for, or another chunk is that long (I12)", async () => {
    const long = new Uint8Array(4 + 8 * 65537);
    for (const type of [ChunkType.BLOCK_STATUS, ChunkType.ERROR]) {
      const { connection, say, lost } = connected();
      connection.send(asked().transaction);
      await say(encodeChunk(type, cookie, true, long));
      expect(lost.map(({ message }) => message)).toEqual([expect.stringMatching(/of 524300 bytes/)]);
    }
  });

  it("is refused when it tells of a context twice, or of more of them than were asked for (I12)", async () => {
    for (const [chunks, why] of [
      [[status(1000), status(1000)], /context 7 comes twice/],
      [[1, 2, 3].map((context) => status(1000, context)), /too many contexts/],
    ] as const) {
      const { transaction, told } = asked();
      const { connection, say, lost } = connected();
      connection.send(transaction);
      await say(...chunks);
      expect(lost.map(({ message }) => message)).toEqual([expect.stringMatching(why)]);
      expect(told).toEqual([]);
    }
  });
});
