// ByteSource and ByteSink over real streams: whatever the chunks, exactly the bytes asked for; bounded memory; a typed end.

import { Duplex, PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteQueue } from "../../../src/nbd/wire/byte-queue.ts";
import { ByteSink } from "../../../src/nbd/wire/byte-sink.ts";
import { ByteSource } from "../../../src/nbd/wire/byte-source.ts";
import { NbdClosedError } from "../../../src/nbd/wire/errors.ts";

const pattern = (lengthBytes: number): Buffer => Buffer.from(Uint8Array.from({ length: lengthBytes }, (_, i) => i * 7));

describe("ByteQueue", () => {
  it("holds a piece or two for every 4 KiB, however small they come, and what it gave stays as it was (I12)", () => {
    const bytes = pattern(65536);
    const queue = new ByteQueue();
    const given: Uint8Array[] = [];
    let most = 0;
    for (let at = 0; at < bytes.length; at++) {
      queue.push(bytes.subarray(at, at + 1));
      // Some are taken as they come, so that views lie in what goes on being filled.
      if (at % 3 === 0) given.push(queue.shift(1));
      most = Math.max(most, queue.pieces);
    }
    expect(most).toBeLessThan(20);
    while (queue.lengthBytes > 5000) given.push(queue.take(5000));
    given.push(queue.take(queue.lengthBytes));
    expect(Buffer.concat(given).equals(bytes)).toBe(true);
    expect(queue.pieces).toBe(0);
  });

  it("copies no large pieces, whatever small ones lie between them", () => {
    const queue = new ByteQueue();
    const pieces = [28, 65536, 28, 65536, 4096].map((lengthBytes) => pattern(lengthBytes));
    for (const piece of pieces) queue.push(piece);
    for (const piece of pieces) expect(queue.shift(65536)).toBe(piece);
  });
});

describe("ByteSource", () => {
  it("gives exactly the bytes asked for, by any call, however they come", async () => {
    const call = fc.record({ how: fc.constantFrom("take", "pieces", "into", "skip"), lengthBytes: fc.nat(3000) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(call, { maxLength: 12 }),
        fc.array(fc.nat(2000), { minLength: 1, maxLength: 30 }),
        async (calls, chunks) => {
          const bytes = pattern(calls.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0));
          const stream = new PassThrough();
          const source = new ByteSource(stream);
          const sent = (async () => {
            for (let at = 0, i = 0; at < bytes.length; i++) {
              const length = (chunks[i % chunks.length] as number) + 1;
              stream.write(bytes.subarray(at, at + length));
              at += length;
              if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
            }
            stream.end();
          })();
          let at = 0;
          for (const { how, lengthBytes } of calls) {
            const expected = bytes.subarray(at, at + lengthBytes);
            at += lengthBytes;
            if (how === "take") expect(expected.equals(await source.take(lengthBytes, "x"))).toBe(true);
            if (how === "pieces")
              expect(expected.equals(Buffer.concat(await source.takePieces(lengthBytes, "x")))).toBe(true);
            if (how === "skip") await source.skip(lengthBytes, "x");
            if (how === "into") {
              const targets = [new Uint8Array(lengthBytes >> 1), new Uint8Array(lengthBytes - (lengthBytes >> 1))];
              await source.takeInto(targets, "x");
              expect(expected.equals(Buffer.concat(targets))).toBe(true);
            }
          }
          await sent;
          await expect(source.take(1, "the end")).rejects.toBeInstanceOf(NbdClosedError);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("makes a peer wait that sends more than anybody asked for", async () => {
    const stream = new PassThrough({ highWaterMark: 65536 });
    const source = new ByteSource(stream);
    let accepted = 0;
    while (stream.write(Buffer.alloc(65536)) || source.heldBytes < 256 * 1024) {
      accepted += 65536;
      expect(accepted).toBeLessThan(4 * 1024 * 1024);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(source.heldBytes).toBeLessThanOrEqual(512 * 1024);
    await source.skip(accepted, "x");
    expect(source.heldBytes).toBeLessThan(512 * 1024);
  });

  it("waits for more than its high-water mark when that is asked for", async () => {
    const stream = new PassThrough();
    const source = new ByteSource(stream);
    const taken = source.takePieces(3 * 1024 * 1024, "payload");
    for (let i = 0; i < 3; i++) stream.write(Buffer.alloc(1024 * 1024, i));
    const bytes = Buffer.concat(await taken);
    expect([bytes[0], bytes[1024 * 1024], bytes[3 * 1024 * 1024 - 1]]).toEqual([0, 1, 2]);
  });

  it("tells an end between two messages from one in the middle, and why", async () => {
    const cut = async (sent: number, cause?: Error): Promise<NbdClosedError> => {
      const stream = new PassThrough();
      const source = new ByteSource(stream);
      stream.write(Buffer.alloc(sent));
      setImmediate(() => (cause === undefined ? stream.end() : stream.destroy(cause)));
      return source.take(28, "request").then(
        () => expect.unreachable(),
        (error: unknown) => error as NbdClosedError,
      );
    };
    expect(await cut(0)).toMatchObject({ name: "NbdClosedError", atBoundary: true, code: undefined, what: "request" });
    expect(await cut(27)).toMatchObject({ atBoundary: false });
    const reset = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
    expect(await cut(5, reset)).toMatchObject({ code: "ECONNRESET", message: "request: read ECONNRESET" });
  });

  it("gives what has come to whoever takes the stream over", async () => {
    const stream = new PassThrough();
    const source = new ByteSource(stream);
    stream.write(Buffer.from("startTLSrest"));
    expect(Buffer.from(await source.take(8, "x")).toString()).toBe("startTLS");
    expect(Buffer.concat(source.release()).toString()).toBe("rest");
    await expect(source.take(1, "x")).rejects.toBeInstanceOf(NbdClosedError);
    const next = new ByteSource(stream);
    stream.write(Buffer.from("more"));
    expect(Buffer.from(await next.take(4, "x")).toString()).toBe("more");
  });
});

describe("ByteSink", () => {
  it("keeps the pieces of a message together and in order, and waits for a slow peer", async () => {
    const got: Buffer[] = [];
    const calls: number[] = [];
    let letThrough: (() => void) | undefined;
    const stream = new Duplex({
      highWaterMark: 1000,
      read: () => {},
      writev: (chunks, done) => {
        calls.push(chunks.length);
        for (const { chunk } of chunks) got.push(chunk as Buffer);
        letThrough = () => done();
      },
    });
    const sink = new ByteSink(stream);
    sink.send(Buffer.from("a"), Buffer.from("b"));
    sink.send(Buffer.from("c"), Buffer.alloc(2000, 0x64));
    let drained = false;
    const waiting = sink.drained("reply").then(() => (drained = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toEqual([4]);
    expect(drained).toBe(false);
    letThrough?.();
    await waiting;
    expect(Buffer.concat(got).subarray(0, 4).toString()).toBe("abcd");
  });

  it("says that the connection is gone instead of waiting for ever", async () => {
    const stream = new Duplex({ highWaterMark: 10, read: () => {}, write: () => {} });
    const sink = new ByteSink(stream);
    sink.send(Buffer.alloc(100));
    const waiting = sink.drained("reply");
    const reset = Object.assign(new Error("write EPIPE"), { code: "EPIPE" });
    stream.on("error", () => {});
    stream.destroy(reset);
    await expect(waiting).rejects.toMatchObject({ name: "NbdClosedError", code: "EPIPE" });
    await expect(sink.drained("reply")).rejects.toBeInstanceOf(NbdClosedError);
    sink.send(Buffer.alloc(5));
  });
});
