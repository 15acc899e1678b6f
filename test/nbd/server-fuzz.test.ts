// Clients that say anything at all, over real sockets, several at a time: sessions with bits turned, pieces left out, said twice,
// or made of noise, by clients that hang up in the middle or never read. The server goes on serving, in bounded memory (I9, I12).

import { connect, type Socket } from "node:net";
import { expect, it } from "vitest";
import { SystemClock } from "../../src/base/clock.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { NbdServer } from "../../src/nbd/server/server.ts";
import { Command, Option } from "../../src/nbd/wire/constants.ts";
import { encodeClientFlags } from "../../src/nbd/wire/greeting.ts";
import { encodeExportQuery, encodeOption } from "../../src/nbd/wire/option.ts";
import { encodeRequest } from "../../src/nbd/wire/request.ts";
import { ScriptedClient, ServerScene, SIZE_BYTES } from "../unit/nbd/server-scene.ts";
import { temporaryFolder } from "./foreign-servers.ts";

const SEED = Number(process.env["H2TS_SEED"] ?? Date.now() % 1_000_000);
const ROUNDS = 60;
const AT_ONCE = 8;
const GROWTH_MAX_BYTES = 200 * 1024 * 1024;
/** What one client may keep the server busy with, for as long as it is connected. */
const READ_BYTES = SIZE_BYTES / 2;

const request = (command: number, lengthBytes: number): Uint8Array =>
  encodeRequest({ command, flags: 0, cookie: { high: 0, low: 1 }, offsetBytes: 0, lengthBytes });

const SESSION: readonly Uint8Array[] = [
  encodeClientFlags(3),
  encodeOption(Option.STRUCTURED_REPLY),
  encodeOption(Option.LIST),
  encodeOption(Option.GO, encodeExportQuery({ exportName: "x", infoTypes: [1] })),
  request(Command.WRITE, 5000),
  Buffer.alloc(5000, 1),
  ...Array.from({ length: 12 }, () => request(Command.READ, READ_BYTES)),
  request(Command.FLUSH, 0),
];

function spoilt(random: SeededRandom): Uint8Array {
  if (random.below(6) === 0) return random.bytes(1 + random.below(5000));
  const pieces = SESSION.filter(() => random.below(12) > 0).flatMap((piece) =>
    random.below(12) === 0 ? [piece, piece] : [piece],
  );
  const bytes = Buffer.concat(pieces);
  for (let i = random.below(3); i > 0; i--) {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  }
  return bytes.subarray(0, random.below(3) === 0 ? random.below(bytes.length) : bytes.length);
}

/** One client: what it does after it has said all that depends on the seed. */
async function visit(path: string, random: SeededRandom): Promise<void> {
  const socket: Socket = connect(path);
  socket.on("error", () => undefined);
  if (random.below(2) === 0) socket.resume();
  const bytes = spoilt(random);
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random.below(6000);
    socket.write(bytes.subarray(at, end));
    at = end;
    await new Promise((resolve) => setTimeout(resolve, random.below(3)));
  }
  await new Promise((resolve) => setTimeout(resolve, random.below(40)));
  socket.destroy();
}

it(`is survived by the server, seed ${SEED}`, async () => {
  const random = new SeededRandom(SEED);
  const folder = temporaryFolder();
  const path = `${folder.path}/s`;
  const scene = new ServerScene();
  const server = new NbdServer({ ...scene.options, clock: new SystemClock() });
  await server.listen({ kind: "unix", path });
  try {
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    let most = 0;
    for (let round = 0; round < ROUNDS; round += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => visit(path, new SeededRandom(SEED + round + i))));
      most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(most).toBeLessThan(GROWTH_MAX_BYTES);
    await expect.poll(() => server.connections).toBe(0);
    expect(scene.served.lease.isHeld).toBe(false);
    const client = new ScriptedClient(connect(path));
    await client.greet();
    await client.option(Option.STRUCTURED_REPLY);
    await client.go();
    expect((await client.write(random.below(1000), Buffer.from("still here"))).error).toBe(0);
    client.leave();
  } finally {
    await server.drain();
    folder.dispose();
  }
});
