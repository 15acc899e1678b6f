// What the server does with requests: data, durability, refusals, block status, and the end of a connection.

import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { SimulatedDevice } from "../../../src/device/simulated.ts";
import { SimulatedDisk } from "../../../src/device/simulated-disk.ts";
import { decodeBlockStatus } from "../../../src/nbd/wire/chunk.ts";
import { ChunkType, Command, CommandFlag, TransmissionFlag, WireError } from "../../../src/nbd/wire/constants.ts";
import { quiet } from "./quiet.ts";
import { ServerScene, SIZE_BYTES } from "./server-scene.ts";

const bytes = (lengthBytes: number, fill: number): Buffer => Buffer.alloc(lengthBytes, fill);

describe("requests", () => {
  it("write and read back", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    const data = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i * 31));
    expect((await client.write(777, data)).error).toBe(0);
    const back = await client.ask(Command.READ, 776, data.length + 1);
    expect(back.data.equals(Buffer.concat([bytes(1, 0), data]))).toBe(true);
    client.leave();
    await scene.ended();
    expect(scene.lines).toEqual(['client 1: opened export "x" for writing', "client 1: left"]);
  });

  it("are carried out side by side, and each is answered by its own cookie", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    const letGo = scene.hold("write");
    const slow = client.send(Command.WRITE, 0, 4, 0, bytes(4, 1));
    const fast = client.send(Command.WRITE, 4, 4, 0, bytes(4, 2));
    expect((await client.answer()).cookie).toBe(fast);
    letGo();
    expect((await client.answer()).cookie).toBe(slow);
  });

  it("FLUSH and FUA answer when what was written before is durable (I1)", async () => {
    const disk = new SimulatedDisk();
    const scene = new ServerScene({ device: new SimulatedDevice("disk", SIZE_BYTES, { disk }) });
    const client = await scene.opened();
    await client.write(0, bytes(512, 1));
    expect(scene.device.calls.flush).toBe(0);
    await client.ask(Command.FLUSH, 0, 0);
    expect(scene.device.calls.flush).toBe(1);
    await client.write(0, bytes(512, 2), CommandFlag.FUA);
    await client.ask(Command.WRITE_ZEROES, 0, 512, CommandFlag.FUA);
    await client.ask(Command.TRIM, 0, 512, CommandFlag.FUA);
    expect(scene.device.calls.flush).toBe(4);
    const [write, flush] = disk.events.slice(-2).map(({ kind }) => kind);
    expect([write, flush]).toContain("flush");
  });

  it("flushes asked for while one runs share the next one", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    const letGo = scene.hold("flush");
    for (let i = 0; i < 10; i++) client.send(Command.FLUSH, 0, 0);
    // Read after them, and answered before them.
    expect((await client.ask(Command.READ, 0, 1)).error).toBe(0);
    expect(scene.device.calls.flush).toBe(1);
    letGo();
    for (let i = 0; i < 10; i++) expect((await client.answer()).error).toBe(0);
    expect(scene.device.calls.flush).toBe(2);
  });

  it("after a flush that failed none works on that connection, nor on others of its time (I2)", async () => {
    const scene = new ServerScene();
    const owner = (slot: number): string => `h2ts:owner=0123456789abcdef/${slot}`;
    const first = await scene.opened([owner(0)]);
    const second = await scene.opened([owner(1)]);
    scene.device.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    expect((await first.ask(Command.FLUSH, 0, 0)).error).toBe(WireError.EIO);
    expect((await first.ask(Command.FLUSH, 0, 0)).error).toBe(WireError.EIO);
    expect((await second.write(0, bytes(9, 1), CommandFlag.FUA)).error).toBe(WireError.EIO);
    const third = await scene.opened([owner(0)]);
    expect((await third.ask(Command.FLUSH, 0, 0)).error).toBe(0);
  });

  it("errors of the device get to the client by their kind, and to the log by their name", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    scene.device.fail({ operation: "write", nth: 1, effect: { kind: "error", code: "ENOSPC" } });
    scene.device.fail({ operation: "read", nth: 1, effect: { kind: "error", code: "ENXIO" } });
    expect((await client.write(0, bytes(9, 1))).error).toBe(WireError.ENOSPC);
    expect((await client.ask(Command.READ, 0, 9)).error).toBe(WireError.EIO);
    expect(scene.lines.filter((line) => line.includes("disk: "))).toHaveLength(2);
  });

  it.each([
    ["a read past the end", Command.READ, SIZE_BYTES - 5, 6, 0, WireError.EINVAL],
    ["a write past the end", Command.WRITE, SIZE_BYTES - 5, 6, 0, WireError.ENOSPC],
    ["a place no disk has", Command.READ, 2 ** 53 + 2 ** 40, 6, 0, WireError.EINVAL],
    ["an unknown command", 77, 0, 0, 0, WireError.EINVAL],
    ["CACHE, which was not offered", Command.CACHE, 0, 10, 0, WireError.EINVAL],
    ["an unknown flag", Command.READ, 0, 10, 1 << 9, WireError.EINVAL],
    ["a read longer than any", Command.READ, 0, 33 * 1024 * 1024, 0, WireError.EINVAL],
    ["status without a context", Command.BLOCK_STATUS, 0, 10, 0, WireError.EINVAL],
  ])("%s is refused, and the connection goes on (I12)", async (_, command, at, length, flags, error) => {
    const scene = new ServerScene();
    const client = await scene.opened();
    const data = command === Command.WRITE ? bytes(length, 1) : undefined;
    expect((await client.ask(command, at, length, flags, data)).error).toBe(error);
    expect((await client.write(0, bytes(3, 7))).error).toBe(0);
    expect([...(await client.ask(Command.READ, 0, 3)).data]).toEqual([7, 7, 7]);
  });

  it("change nothing on a read-only export", async () => {
    const scene = new ServerScene({ readOnly: true });
    const client = await scene.client();
    expect(await client.go()).toBe(
      TransmissionFlag.HAS_FLAGS |
        TransmissionFlag.READ_ONLY |
        TransmissionFlag.SEND_FLUSH |
        TransmissionFlag.SEND_FUA |
        TransmissionFlag.CAN_MULTI_CONN,
    );
    expect((await client.write(0, bytes(3, 7))).error).toBe(WireError.EPERM);
    expect((await client.ask(Command.TRIM, 0, 3)).error).toBe(WireError.EPERM);
    expect((await client.ask(Command.FLUSH, 0, 0)).error).toBe(0);
    expect(scene.device.calls).toMatchObject({ write: 0, flush: 0 });
  });

  it("BLOCK_STATUS answers for every context that was selected", async () => {
    const scene = new ServerScene();
    const client = await scene.opened(["base:allocation", "h2ts:owner=0123456789abcdef/0", "other:thing"]);
    const { chunks } = await client.ask(Command.BLOCK_STATUS, 100, 5000);
    expect(chunks.map(({ type }) => type)).toEqual([ChunkType.BLOCK_STATUS, ChunkType.BLOCK_STATUS]);
    expect(chunks.map(({ payload }) => decodeBlockStatus(payload))).toEqual([
      { contextId: 0, extents: [{ lengthBytes: 5000, flags: 0 }] },
      { contextId: expect.any(Number) as number, extents: [{ lengthBytes: 5000, flags: 0 }] },
    ]);
  });

  it("under way are bounded in number and bytes: reading more waits (I12)", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    scene.device.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "hang" } });
    let sent = 0;
    for (; sent < 400 && !client.stream.writableNeedDrain; sent++) {
      client.send(Command.WRITE, 0, 65536, 0, bytes(65536, 1));
      await turn();
    }
    await quiet();
    expect(scene.device.calls.write).toBe(scene.options.limits.requestsMax);
    expect(client.stream.writableNeedDrain).toBe(true);
  });

  it("of a client that takes no replies pile up no further than that", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    client.source.release();
    client.stream.pause();
    for (let i = 0; i < 2000; i++) client.send(Command.READ, 0, 65536);
    await quiet();
    expect(scene.device.calls.read).toBe(scene.options.limits.requestsMax);
  });
});
