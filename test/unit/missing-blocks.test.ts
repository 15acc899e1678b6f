// What is not in memory is read, and who waits for that: nobody waits for what others asked for (I9), all who want one block
// share its read, and that it could not be read is told to those who wait, not to who comes later.

import { expect, it } from "vitest";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { dataRoot, extentFrom } from "../../src/ops/file-data.ts";
import { inodeOf } from "../../src/ops/inodes.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { refusal } from "./errno.ts";

const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0 };
const WINDOW = 65536;
/** Of a request that is held up for good. */
const LIMIT_MS = 60_000;

async function makeFile(made: SimulatedVolume, name: string, windows: number, copies = "all"): Promise<number> {
  const { ino } = await made.fs.makeNode(1, Buffer.from(name), 0o100644, 0, 0, CALLER);
  await made.fs.setXattr(ino, "user.h2ts.copies", Buffer.from(copies), 0, CALLER, false);
  for (let i = 0; i < windows; i++) await made.fs.write(ino, i * WINDOW, new Uint8Array(WINDOW).fill(i + 1), {});
  return ino;
}

/** Where the block of a window lies on each copy, in bytes; all on the way there is in memory afterwards. */
async function placesOf(made: SimulatedVolume, ino: number, window: number): Promise<number[]> {
  return made.volume.view((state) => {
    const extent = extentFrom(state.store, dataRoot(inodeOf(state, ino)), window * WINDOW);
    if (extent === undefined) throw new Error(`window ${window} is a hole`);
    const { block, at } = extent.ref;
    return made.devices.map((_, copy) => refPointer(block.view, at, copy) * KIB);
  });
}

/** Reads of this place of a device go on only when the function returned is called. */
function holdReads(made: SimulatedVolume, copy: number, atByte: number): () => void {
  let letGo = (): void => undefined;
  const until = new Promise<void>((resolve) => (letGo = resolve));
  made.devices[copy]!.fail({ operation: "read", nth: 1, permanent: true, atByte, effect: { kind: "late", until } });
  return letGo;
}

const firstByte = async (made: SimulatedVolume, ino: number, window: number): Promise<number | undefined> =>
  (await made.fs.read(ino, window * WINDOW, 10)).pieces[0]?.[0];

it("a block that no copy gives now is waited for by those who want it, and read once for all of them", {
  timeout: LIMIT_MS,
}, async () => {
  let made = await SimulatedVolume.format(21, [32 * MIB]);
  const ino = await makeFile(made, "file", 4);
  made = await made.remount();
  const letGo = holdReads(made, 0, (await placesOf(made, ino, 0))[0] as number);
  let answered = 0;
  const waiting = [1, 2].map(() => firstByte(made, ino, 0).finally(() => answered++));
  expect(await firstByte(made, ino, 1)).toBe(2);
  expect(answered).toBe(0);
  const { read } = made.devices[0]!.calls;
  letGo();
  expect(await Promise.all(waiting)).toEqual([1, 1]);
  expect(made.devices[0]!.calls.read).toBe(read);
});

it("what lies on other copies is not held up with it", { timeout: LIMIT_MS }, async () => {
  let made = await SimulatedVolume.format(22, [32 * MIB, 32 * MIB]);
  const ino = await makeFile(made, "file", 1, "1");
  await made.fs.setXattr(ino, "user.h2ts.copies", Buffer.from("all"), 0, CALLER, false);
  await made.fs.write(ino, WINDOW, new Uint8Array(WINDOW).fill(2), {});
  made = await made.remount();
  const places = await placesOf(made, ino, 0);
  const only = places.findIndex((at) => at !== 0);
  expect(places[1 - only]).toBe(0);
  await placesOf(made, ino, 1);
  const letGo = holdReads(made, only, places[only] as number);
  const both = made.fs.read(ino, 0, 2 * WINDOW);
  expect(await firstByte(made, ino, 1)).toBe(2);
  letGo();
  expect((await both).lengthBytes).toBe(2 * WINDOW);
});

it("whoever comes later has it read again, and a block that is gone is not missed", async () => {
  let made = await SimulatedVolume.format(23, [32 * MIB]);
  const ino = await makeFile(made, "file", 4);
  made = await made.remount();
  await placesOf(made, ino, 0);
  const [device] = made.devices;
  device!.fail({ operation: "read", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
  const refusals = [0, 0, 1].map((from) => refusal(() => made.fs.read(ino, from * WINDOW, 3 * WINDOW)));
  expect(await Promise.all(refusals)).toEqual(["EIO", "EIO", "EIO"]);
  expect(made.volume.store.lostCount).toBe(4);
  device!.faults.clear();
  for (let window = 0; window < 3; window++) expect(await firstByte(made, ino, window)).toBe(window + 1);
  expect(made.volume.store.lostCount).toBe(1);
  await made.fs.unlink(1, Buffer.from("file"), CALLER);
  made.fs.forget(ino, 1);
  await made.fs.settled();
  expect(made.volume.store.lostCount).toBe(0);
});

it("who alone waits for a copy that hangs waits as long as that takes, unless he holds up everybody (I9)", async () => {
  let made = await SimulatedVolume.format(24, [32 * MIB, 32 * MIB]);
  const ino = await makeFile(made, "file", 1, "1");
  made = await made.remount();
  const places = await placesOf(made, ino, 0);
  const only = places.findIndex((at) => at !== 0);
  holdReads(made, only, places[only] as number);
  let end = "none";
  void refusal(() => made.fs.read(ino, 0, WINDOW)).then((how) => (end = how));
  const wait = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 25) await made.clock.advance(25);
  };
  await wait(3 * DEADLINE_MS_DEFAULT);
  expect([end, made.copies.copy(only)?.failure]).toEqual(["none", undefined]);
  made.fs.holdsUp(new Promise(() => undefined));
  await wait(2 * DEADLINE_MS_DEFAULT);
  expect([end, made.copies.copy(1 - only)?.standing]).toEqual(["EIO", "in-sync"]);
  expect(made.copies.copy(only)?.failure).toBeDefined();
});
