// Descriptors between supervisor and worker, when there are more than a socket has room for and the other side takes its time.

import { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { afterEach, beforeEach, expect, it } from "vitest";
import { HandOver } from "../../src/daemon/hand-over.ts";
import { DeviceSender, KeptDevices } from "../../src/daemon/kept-devices.ts";
import { tryLock } from "../../src/device/system-calls.ts";
import { receiveDescriptor } from "../../src/fuse/kernel/descriptor-socket.ts";

const dup = koffi.load(null).func("int dup(int fd)") as (fd: number) => number;
/** Eight copies of 255 nodes, the most there can be. */
const DEVICES = 2040;

let folder: string;
let file: number;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-kept-"));
  file = openSync(join(folder, "file"), "w");
});
afterEach(() => {
  closeSync(file);
  rmSync(folder, { recursive: true, force: true });
});

const nameOf = (i: number): string => `file 2049:${100_000 + i}`;
const named = (count: number) => Array.from({ length: count }, (_, i) => [nameOf(i), file] as const);
/** What the descriptors of this process are of. */
const allOpen = (): string[] =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return []; // That of the listing itself.
    }
  });
/** How many it has of the file. */
const opened = (): number => allOpen().filter((name) => name === join(folder, "file")).length;

/** What has arrived by now; closes what came with it. */
function arrivals(socket: number): string[] {
  const names: string[] = [];
  for (let one = receiveDescriptor(socket, false); one !== undefined; one = receiveDescriptor(socket, false)) {
    expect(one.fd, one.words).toBeDefined();
    closeSync(one.fd as number);
    names.push(one.words);
  }
  return names;
}

/** The worker's end of a hand-over, as it has it. */
function passedOn(handOver: HandOver): number {
  const theirs = dup(handOver.theirs);
  handOver.passedOn();
  return theirs;
}

it("all devices of a mount are handed over, however late the worker reads, and nobody waits for it", async () => {
  const handOver = new HandOver();
  const theirs = passedOn(handOver);
  handOver.give(named(DEVICES));
  await sleep(50);
  const arrived: string[] = [];
  await expect.poll(() => arrived.push(...arrivals(theirs)), { timeout: 10_000, interval: 5 }).toBe(DEVICES);
  expect(arrived).toEqual(named(DEVICES).map(([name]) => name));
  closeSync(theirs);
});

it("a descriptor that can't be sent costs only that one", () => {
  const handOver = new HandOver();
  const theirs = passedOn(handOver);
  handOver.give([
    ["first", file],
    ["bad", -1],
    ["last", file],
  ]);
  expect(arrivals(theirs)).toEqual(["first", "last"]);
  closeSync(theirs);
});

it("nothing is sent any more once a hand-over is closed", async () => {
  const handOver = new HandOver();
  const theirs = passedOn(handOver);
  handOver.give(named(DEVICES));
  handOver.close();
  expect(arrivals(theirs).length).toBeLessThan(DEVICES);
  await sleep(50);
  expect(arrivals(theirs)).toEqual([]);
  closeSync(theirs);
});

it("a worker that is gone before it has all ends a hand-over, which leaves nothing open", async () => {
  const sockets = (): number => allOpen().filter((name) => name.startsWith("socket:")).length;
  const before = sockets();
  const handOver = new HandOver();
  const theirs = passedOn(handOver);
  handOver.give(named(DEVICES));
  arrivals(theirs);
  expect(sockets()).toBe(before + 2);
  closeSync(theirs);
  await expect.poll(sockets).toBe(before);
});

it("the supervisor gets every device that a worker opens and closes, however late it reads", async () => {
  const kept = new KeptDevices();
  let sent = 0;
  const sender = new DeviceSender(kept.socketFd, [], () => sent++);
  for (const [name, fd] of named(DEVICES)) sender.opened(name, fd);
  await sender.settle();
  await expect.poll(() => (kept.receive(), kept.held.length), { timeout: 10_000, interval: 5 }).toBe(DEVICES);
  expect(sent).toBeGreaterThan(1);
  for (const [name] of named(DEVICES)) expect(sender.closing(name)).toBe(true);
  expect(sender.hasReleased(nameOf(DEVICES - 1))).toBe(true);
  await expect.poll(() => (kept.receive(), kept.held.length), { timeout: 10_000, interval: 5 }).toBe(0);
  kept.close();
  await kept.closed();
});

it("a device that is closed before all are open is there for the next try, and held once", async () => {
  const kept = new KeptDevices();
  const sender = new DeviceSender(kept.socketFd, [], () => undefined);
  sender.opened("one", file);
  expect(sender.closing("one")).toBe(false);
  const again = sender.takeOver("one");
  expect(again).toBeGreaterThan(0);
  sender.opened("one", again as number);
  await sender.settle();
  kept.receive();
  expect(kept.held.map(([name]) => name)).toEqual(["one"]);
  expect(sender.closing("one")).toBe(true);
  closeSync(again as number);
  kept.receive();
  kept.close();
  await kept.closed();
  await expect.poll(opened).toBe(1);
});

it("a device that is not open when all are is free for others at once, whoever else has its descriptor (I11)", async () => {
  const path = join(folder, "file");
  const kept = new KeptDevices();
  const sender = new DeviceSender(kept.socketFd, [], () => undefined);
  const locked = openSync(path, "r+");
  expect(await tryLock(locked, true)).toBeUndefined();
  sender.opened("one", locked);
  sender.closing("one");
  closeSync(locked);
  const other = openSync(path, "r+");
  expect(await tryLock(other, true)).toBe("EAGAIN");
  await sender.settle();
  // What was sent of it is still in the socket.
  expect(await tryLock(other, true)).toBeUndefined();
  closeSync(other);
  kept.close();
  await kept.closed();
});
