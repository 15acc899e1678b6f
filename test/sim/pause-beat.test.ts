// A host that stands still for a while as a beat is on its way (I9, I11): the timer of the next one comes before the answer, which lies
// there. No copy is to blame for that, and as long as the lease lasts nothing is given up.

import { expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { Heartbeat } from "../../src/copies/heartbeat.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { Host, Network } from "./hosts.ts";
import { within } from "./virtual-time.ts";

const SEED = 9400;
const BEAT_MS = LEASE_MS_DEFAULT / 4;

interface Paused {
  readonly copies: readonly Copy[];
  readonly pass: (durationMs: number) => Promise<void>;
  readonly release: () => Promise<void>;
}

/** Two copies that are beaten on; the host stands still for `pauseMs` while a beat is on its way to both. `hangs`: that on copy 1 is lost. */
async function paused(pauseMs: number, hangs = false): Promise<Paused> {
  const clock = new SimulatedClock();
  const random = new SeededRandom(SEED);
  const network = new Network(clock, random, 40);
  const host = new Host("a", clock);
  const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
  const copies = devices.map(
    (device, i) => new Copy(i, randomUuid(random), network.attach(host, device), [device.name]),
  );
  const set = new CopySet(copies, { volumeUuid: randomUuid(random), clock: host.clock });
  const heartbeat = await within(clock, LEASE_MS_DEFAULT, Heartbeat.claim(set, { random }));
  const pass = async (durationMs: number): Promise<void> => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 10) await clock.advance(10);
  };
  await pass(1.5 * BEAT_MS);
  const before = network.issued.length;
  if (hangs) devices[1]!.fail({ operation: "write", nth: 1, effect: { kind: "hang" } });
  while (network.issued.length < before + 2) await clock.advance(1);
  host.stop();
  await pass(pauseMs);
  host.goOn();
  return { copies, pass, release: () => within(clock, LEASE_MS_DEFAULT, heartbeat.release()) };
}

it("costs no copy while the lease lasts", async () => {
  for (const pauseMs of [1000, BEAT_MS - 100, BEAT_MS + 1000, 1.6 * BEAT_MS, 1.9 * BEAT_MS]) {
    const { copies, pass, release } = await paused(pauseMs);
    await pass(2 * LEASE_MS_DEFAULT);
    const failures = copies.map(({ failure }) => failure?.message);
    expect(failures, `seed ${SEED}, a pause of ${pauseMs} ms`).toEqual([undefined, undefined]);
    await release();
  }
});

it("spares none that goes on not to answer", async () => {
  const { copies, pass, release } = await paused(BEAT_MS + 1000, true);
  await pass(2 * BEAT_MS);
  const [failed, answers] = [copies[1]!.failure, copies[0]!.failure];
  expect([failed?.code, answers]).toEqual(["ETIMEDOUT", undefined]);
  await release();
});
