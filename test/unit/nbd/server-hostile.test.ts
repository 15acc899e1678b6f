// Clients that leave in the middle, send garbage, are slow or never stop: the server disconnects, holds little, gives the lease
// back, and serves the next one (I9, I12). The seed is printed with every failure.

import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/base/random.ts";
import { SimulatedClock } from "../../../src/device/simulated-clock.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { Command, Option } from "../../../src/nbd/wire/constants.ts";
import { encodeClientFlags } from "../../../src/nbd/wire/greeting.ts";
import { encodeExportQuery, encodeMetaContextQuery, encodeOption } from "../../../src/nbd/wire/option.ts";
import { encodeRequest } from "../../../src/nbd/wire/request.ts";
import { quiet } from "./quiet.ts";
import { ServerScene } from "./server-scene.ts";

const request = (command: number, offsetBytes: number, lengthBytes: number): Uint8Array =>
  encodeRequest({ command, flags: 0, cookie: { high: 1, low: 2 }, offsetBytes, lengthBytes });

/** All that a client says in one session, message by message. */
const sessionOf = (dataBytes: number): readonly Uint8Array[] => [
  encodeClientFlags(3),
  encodeOption(Option.STRUCTURED_REPLY),
  encodeOption(Option.LIST),
  encodeOption(Option.INFO, encodeExportQuery({ exportName: "x", infoTypes: [1, 2, 3] })),
  encodeOption(
    Option.SET_META_CONTEXT,
    encodeMetaContextQuery({ exportName: "x", queries: ["base:allocation", "h2ts:owner=0123456789abcdef/0"] }),
  ),
  encodeOption(Option.GO, encodeExportQuery({ exportName: "x", infoTypes: [] })),
  request(Command.WRITE, 0, dataBytes),
  Buffer.alloc(dataBytes, 1),
  request(Command.READ, 0, 9000),
  request(Command.BLOCK_STATUS, 0, 9000),
  request(Command.WRITE_ZEROES, 100, 9000),
  request(Command.TRIM, 100, 9000),
  request(Command.FLUSH, 0, 0),
  request(Command.DISC, 0, 0),
];
const SESSION = sessionOf(5000);

/** Says `bytes` to the server and hangs up, in one way or another; whatever it answers is not looked at. */
async function say(scene: ServerScene, bytes: Uint8Array, abrupt: boolean, random?: SeededRandom): Promise<void> {
  const stream = scene.connect();
  stream.resume();
  for (let at = 0; at < bytes.length; ) {
    const end = random === undefined ? bytes.length : at + 1 + random.below(4000);
    stream.write(bytes.subarray(at, end));
    at = end;
    await turn();
  }
  for (let i = 0; i < 4; i++) await turn();
  if (abrupt) stream.destroy();
  else stream.end();
  await scene.connections.at(-1)?.ended;
}

async function expectServing(scene: ServerScene): Promise<void> {
  expect(scene.served.lease.isHeld).toBe(false);
  const client = await scene.opened();
  expect((await client.write(0, Buffer.alloc(10, 3))).error).toBe(0);
  client.leave();
  await scene.connections.at(-1)?.ended;
}

describe("the server survives", () => {
  it("a client that leaves within or after any message", async () => {
    const scene = new ServerScene();
    const whole = Buffer.concat(SESSION);
    const ends = SESSION.map((_, i) => SESSION.slice(0, i + 1).reduce((sum, bytes) => sum + bytes.length, 0));
    const cuts = new Set([
      0,
      1,
      ...ends.flatMap((end, i) => [end - 1, end, end - ((SESSION[i] as Uint8Array).length >> 1)]),
    ]);
    for (const cut of cuts) {
      await say(scene, whole.subarray(0, cut), cut % 2 === 0);
      expect(scene.served.lease.isHeld, `cut at byte ${cut}`).toBe(false);
    }
    await expectServing(scene);
  });

  it.each(Array.from({ length: 4 }, (_, i) => i + 1))(
    "garbage, mutations and pieces of sessions, seed %d",
    async (seed) => {
      const random = new SeededRandom(seed);
      const scene = new ServerScene();
      const whole = Buffer.concat(SESSION);
      for (let run = 0; run < 60; run++) {
        let bytes: Uint8Array;
        if (random.below(4) === 0) bytes = random.bytes(random.below(3000));
        else {
          bytes = Uint8Array.from(whole);
          for (let i = random.below(4); i >= 0; i--) bytes[random.below(bytes.length)] = random.below(256);
          if (random.below(3) === 0) bytes = bytes.subarray(0, random.below(bytes.length));
        }
        await say(scene, bytes, random.below(2) === 0, random);
        expect(scene.served.lease.isHeld, `seed ${seed}, run ${run}`).toBe(false);
      }
      await expectServing(scene);
    },
  );

  it("a client that sends byte after byte", async () => {
    const whole = Buffer.concat(sessionOf(100));
    const heard: Buffer[] = [];
    for (const step of [whole.length, 1]) {
      const scene = new ServerScene();
      const stream = scene.connect();
      const answers: Buffer[] = [];
      stream.on("data", (bytes: Buffer) => void answers.push(bytes));
      for (let at = 0; at < whole.length; at += step) {
        stream.write(whole.subarray(at, at + step));
        await turn();
      }
      stream.end();
      await scene.connections.at(-1)?.ended;
      const content = Buffer.alloc(9000);
      scene.device.image.read(0, content);
      heard.push(Buffer.concat([content, ...answers]));
      await expectServing(scene);
    }
    // The same was answered, in whatever order, and the same done.
    const [atOnce, slowly] = heard.map((bytes) => bytes.length);
    expect(slowly).toBe(atOnce);
    expect(heard[1]?.subarray(0, 9000).equals(heard[0]?.subarray(0, 9000) as Buffer)).toBe(true);
  });

  it("a client that says nothing: it is hung up on before it opened anything, and not after", async () => {
    const clock = new SimulatedClock();
    const scene = new ServerScene({ clock });
    const silent = scene.connect();
    const opened = await scene.opened();
    await clock.advance(DEFAULT_LIMITS.handshakeMs);
    await scene.connections[0]?.ended;
    expect(silent.readableFlowing === null || silent.destroyed || silent.readableEnded).toBe(true);
    await clock.advance(100 * DEFAULT_LIMITS.stallMs);
    expect((await opened.write(0, Buffer.alloc(3))).error).toBe(0);
  });

  it.each([
    ["half a header", request(Command.READ, 0, 10).subarray(0, 20)],
    ["half of its data", Buffer.concat([request(Command.WRITE, 0, 5000), Buffer.alloc(100)])],
    ["none of its data", request(Command.WRITE, 0, 5000)],
  ])("a client that stops after %s", async (_, bytes) => {
    const clock = new SimulatedClock();
    const scene = new ServerScene({ clock });
    const client = await scene.opened();
    client.stream.write(bytes);
    await turn();
    await clock.advance(2 * DEFAULT_LIMITS.stallMs);
    await scene.ended();
    expect(scene.lines.join()).toContain("stopped in the middle of a message");
    await expectServing(scene);
  });

  it("a client that takes none of its replies", async () => {
    const clock = new SimulatedClock();
    const scene = new ServerScene({ clock });
    const client = await scene.opened();
    client.source.release();
    client.stream.pause();
    for (let i = 0; i < 100; i++) client.send(Command.READ, 0, 65536);
    await quiet();
    await clock.advance(2 * DEFAULT_LIMITS.stallMs);
    await scene.ended();
    await expectServing(scene);
  });

  it("its own end: what is under way is answered, what comes later is not begun", async () => {
    const scene = new ServerScene();
    const client = await scene.opened();
    const letGo = scene.hold("write");
    const cookie = client.send(Command.WRITE, 0, 4, 0, Buffer.from("last"));
    await quiet();
    const drained = scene.connections[0]?.drain();
    client.send(Command.WRITE, 0, 4, 0, Buffer.from("late"));
    await turn();
    letGo();
    expect(await client.answer()).toMatchObject({ cookie, error: 0 });
    await expect(client.source.take(1, "more")).rejects.toThrow();
    client.stream.end();
    await drained;
    const bytes = new Uint8Array(4);
    await scene.device.read(0, [bytes]);
    expect(Buffer.from(bytes).toString()).toBe("last");
  });
});
