// The end of a server: every export is flushed that can be, and none that can't keeps the others or the server from their end (I9).

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SeededRandom } from "../../../src/base/random.ts";
import { SimulatedDevice } from "../../../src/device/simulated.ts";
import { SimulatedClock } from "../../../src/device/simulated-clock.ts";
import { AllowList } from "../../../src/nbd/server/allow-list.ts";
import { Catalogue } from "../../../src/nbd/server/catalogue.ts";
import { Export } from "../../../src/nbd/server/export.ts";
import { NO_RECORD } from "../../../src/nbd/server/lease-record.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { NbdServer } from "../../../src/nbd/server/server.ts";
import { Command, Option } from "../../../src/nbd/wire/constants.ts";
import { ScriptedClient, SIZE_BYTES } from "./server-scene.ts";

const NAMES = ["hung", "well"] as const;
const BLOCK = Buffer.alloc(4096, 7);

let folder: string;
let clock: SimulatedClock;
let devices: Record<(typeof NAMES)[number], SimulatedDevice>;
let server: NbdServer;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-server-end-"));
  clock = new SimulatedClock();
  devices = { hung: new SimulatedDevice("hung", SIZE_BYTES), well: new SimulatedDevice("well", SIZE_BYTES) };
  const options = { readOnly: false, leaseMs: 0, clock, random: new SeededRandom(1), record: NO_RECORD };
  const exports = NAMES.map((name) => new Export(name, devices[name], options));
  const catalogue = new Catalogue(exports, new AllowList([], NAMES));
  server = new NbdServer({ catalogue, limits: DEFAULT_LIMITS, clock, tls: undefined, log: () => undefined });
  await server.listen({ kind: "unix", path: join(folder, "s") });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A client that leaves when the server has nothing more to say. */
async function opened(exportName: string): Promise<ScriptedClient> {
  const client = new ScriptedClient(connect(join(folder, "s")));
  client.stream.once("end", () => client.stream.destroy());
  await client.greet();
  await client.option(Option.STRUCTURED_REPLY);
  await client.tryGo(exportName);
  return client;
}

const never = new Promise<void>(() => undefined);

describe("a server with a device that hangs", () => {
  it("flushes its other exports at once, ends in time, and tells which one is not durable", async () => {
    const [waiting, other] = [await opened("hung"), await opened("well")];
    await other.write(0, BLOCK);
    devices.hung.fail({ operation: "write", nth: 1, effect: { kind: "late", until: never } });
    waiting.send(Command.WRITE, 0, BLOCK.length, 0, BLOCK);
    await expect.poll(() => devices.hung.calls.write).toBe(1);
    let hasEnded = false;
    const ended = server.drain().finally(() => (hasEnded = true));
    await expect.poll(() => devices.well.calls.flush).toBe(1);
    await clock.advance(DEFAULT_LIMITS.drainMs);
    expect(hasEnded).toBe(false);
    // So long it is looked whether only the client was waited for.
    await expect.poll(() => waiting.stream.destroyed).toBe(true);
    await clock.advance(1000);
    const [undurable, ...others] = await ended;
    expect(others).toEqual([]);
    expect(undurable).toMatchObject({ served: { name: "hung" }, isHeldUp: true });
    expect(undurable?.reason.message).toBe("hung: no answer within 10 s");
    expect(devices.hung.calls.flush).toBe(0);
  });

  it("does not wait for ever for its flush, and tells what failed", async () => {
    devices.hung.fail({ operation: "flush", nth: 1, effect: { kind: "late", until: never } });
    devices.well.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    const ended = server.drain();
    await expect.poll(() => devices.hung.calls.flush).toBe(1);
    await clock.advance(DEFAULT_LIMITS.flushMs);
    expect(await ended).toMatchObject([
      { served: { name: "hung" }, reason: { message: "hung: no answer within 60 s" }, isHeldUp: true },
      { served: { name: "well" }, reason: { code: "EIO" }, isHeldUp: false },
    ]);
  });

  it("waits for no client that takes none of its replies", async () => {
    const client = await opened("well");
    client.source.release();
    for (let i = 0; i < 64; i++) client.send(Command.READ, 0, 262_144);
    await expect.poll(() => devices.well.calls.read).toBeGreaterThan(0);
    const ended = server.drain();
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(DEFAULT_LIMITS.drainMs);
    expect(await ended).toEqual([]);
    expect(devices.well.calls.flush).toBe(1);
    client.stream.destroy();
  });
});
