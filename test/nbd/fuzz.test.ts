// A server that says anything at all: messages with bits turned, cut short, made longer, said twice, or made of noise. Whatever
// comes, each request ends, well or with a DeviceError, in bounded time and memory, and nothing else is thrown.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/base/clock.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { type BlockDevice, DeviceError } from "../../src/device/device.ts";
import { deviceOpener } from "../../src/nbd/open.ts";
import { temporaryFolder } from "./foreign-servers.ts";
import { type Act, ScriptedPeer } from "./scripted-peer.ts";

const SIZE_BYTES = 1024 * 1024;
const ROUNDS = 120;
const GROWTH_MAX_BYTES = 150 * 1024 * 1024;
const first = Number(process.env["H2TS_SEED"] ?? 1);

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(() => folder.dispose());

/** One way to spoil a message. */
function spoilt(random: SeededRandom, bytes: Uint8Array): Act {
  const copy = Buffer.from(bytes);
  switch (random.below(7)) {
    case 0:
    case 1:
      for (let i = random.below(4); i >= 0; i--) {
        const at = random.below(Math.min(copy.length, 64));
        copy[at] = (copy[at] as number) ^ (1 << random.below(8));
      }
      return copy;
    case 2:
      return copy.subarray(0, random.below(copy.length));
    case 3:
      return Buffer.concat([copy, random.bytes(1 + random.below(100))]);
    case 4:
      return Buffer.concat([copy, copy]);
    case 5:
      return Buffer.from(random.bytes(1 + random.below(5000)));
    default: {
      // Numbers at their ends: lengths and offsets that nobody can have meant.
      const word = Math.min(copy.length - 4, 4 * random.below(8));
      if (word >= 0) copy.writeUInt32BE([0, 1, 0x7fff_ffff, 0xffff_ffff][random.below(4)] as number, word);
      return copy;
    }
  }
}

async function ended(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => expect(error).toBeInstanceOf(DeviceError));
}

async function use(device: BlockDevice): Promise<void> {
  const target = new Uint8Array(3000);
  await Promise.all([
    ended(device.write(4096, [new Uint8Array(8192).fill(1)])),
    ended(device.read(1000, [target])),
    ended(device.flush()),
    ended(device.extents?.(0, SIZE_BYTES, 10) ?? Promise.resolve()),
  ]);
  await ended(device.read(500_000, [target]));
  await ended(device.zero?.(8192, 4096, false) ?? Promise.resolve());
  await ended(device.flush());
  await ended(device.close());
}

describe("a server that says anything", () => {
  it(`is survived (seeds ${first} to ${first + ROUNDS - 1})`, async () => {
    const open = deviceOpener({ clock: new SystemClock(), policy: { timeoutMs: 150, openMs: 100, retryCount: 3 } });
    const before = process.memoryUsage.rss();
    for (let seed = first; seed < first + ROUNDS; seed++) {
      const random = new SeededRandom(seed);
      const path = `${folder.path}/${seed}`;
      const peer = new ScriptedPeer({ path, sizeBytes: SIZE_BYTES, structured: random.below(2) === 0 });
      await peer.listen();
      const from = random.below(12);
      peer.script = ({ number, bytes }): Act => (number < from || random.below(3) > 0 ? "send" : spoilt(random, bytes));
      const started = performance.now();
      const device = await open(peer.target, { writable: true }).catch((error: unknown) => {
        expect(error, `seed ${seed}`).toBeInstanceOf(DeviceError);
      });
      if (device !== undefined) await use(device);
      expect(performance.now() - started, `seed ${seed}`).toBeLessThan(12_000);
      await peer.close();
    }
    expect(process.memoryUsage.rss() - before).toBeLessThan(GROWTH_MAX_BYTES);
  });
});
