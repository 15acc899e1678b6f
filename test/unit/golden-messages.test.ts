// The messages of a mount's processes as a version that people have sends and reads them (fixtures/golden/messages.json): a live upgrade
// mixes versions, so each must be understood, lose nothing, and be sent whole. A change that fails here has to be decided: it is a field
// that others may lack from now on, or one that they do without; or upgrades to it are refused, and this file says from then on what is
// new. What is committed stays, and what is new comes beside it.

import {
  type BigIntStats,
  closeSync,
  fstatSync,
  mkdtempSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { dispensable, type Message, readGoldenMessages } from "../../fixtures/golden/golden-messages.ts";
import { DaemonLog } from "../../src/daemon/daemon-log.ts";
import { HANDED } from "../../src/daemon/hand-over.ts";
import { DeviceSender, KeptDevices } from "../../src/daemon/kept-devices.ts";
import { ControlReply, ControlRequest, WorkerOrder, WorkerReport } from "../../src/daemon/messages.ts";
import { createSharedMemory, negotiatedIn, SharedMemory } from "../../src/daemon/shared-memory.ts";
import { CopyState, ScanReport } from "../../src/daemon/volume-report.ts";
import { WorkerProcess } from "../../src/daemon/worker-process.ts";
import { deviceIdentity } from "../../src/device/identity.ts";
import { ROOT_BYTES } from "../../src/format/root-block.ts";
import { beginRootEpoch, setRootSequence } from "../../src/format/root-history.ts";
import { receiveDescriptor, sendDescriptor, socketPair } from "../../src/fuse/kernel/descriptor-socket.ts";
import type { Negotiated } from "../../src/fuse/kernel/negotiation.ts";
import { Journal, JOURNAL_BYTES } from "../../src/log/journal.ts";

const golden = readGoldenMessages(join(import.meta.dirname, "../../fixtures/golden"));

/** A root with nothing but a sequence and an epoch. */
function root(sequence: number, epoch: number): DataView {
  const view = new DataView(new ArrayBuffer(ROOT_BYTES));
  beginRootEpoch(view, new Uint8Array(16).fill(epoch));
  setRootSequence(view, sequence);
  return view;
}

describe.each([
  ["orders to a worker", WorkerOrder, golden.orders],
  ["reports of a worker", WorkerReport, golden.reports],
  ["requests to a daemon", ControlRequest, golden.requests],
  ["replies of a daemon", ControlReply, golden.replies],
] as const)("%s", (_, schema: z.ZodType, { messages, mayLack }) => {
  it("are understood, and nothing in them is lost", () => {
    for (const message of messages) expect(schema.parse(message)).toMatchObject(message);
  });

  it("are to be sent whole, but for what the receivers of that version do without", () => {
    const kindOf = ({ type, call }: Message): string => type ?? call ?? "reply";
    const found = messages.flatMap((message) =>
      dispensable(schema, message).map((path) => `${kindOf(message)}: ${path}`),
    );
    expect([...new Set(found)].sort()).toEqual(mayLack);
  });
});

it("each kind of message is among them", () => {
  const types = (messages: readonly Message[]): unknown[] => [...new Set(messages.map(({ type }) => type))].sort();
  const kinds = (schema: typeof WorkerOrder | typeof WorkerReport): string[] =>
    schema.options.map(({ shape }) => shape.type.value).sort();
  expect(types(golden.orders.messages)).toEqual(kinds(WorkerOrder));
  expect(types(golden.reports.messages)).toEqual(kinds(WorkerReport));
  expect(CopyState.options).toEqual(golden.words.copyStates);
  expect(ScanReport.shape.state.options).toEqual(golden.words.scanStates);
});

describe("what passes between the processes besides messages", () => {
  it("where a worker finds what it is started with", async () => {
    const { descriptor } = golden.handedOver;
    const folder = mkdtempSync(join(tmpdir(), "h2ts-golden-"));
    const program = join(folder, "program.mjs");
    // Which kind of socket the descriptor is: 5 for one whose messages arrive each by itself, as no other is there.
    writeFileSync(
      program,
      `import { readFileSync, readlinkSync } from "node:fs";
const [inode] = readlinkSync("/proc/self/fd/${descriptor}").match(/\\d+/);
const kind = readFileSync("/proc/net/unix", "utf8").match(new RegExp("(\\\\d+) \\\\d+ +" + inode + "\\\\b"))[1];
const message = JSON.stringify([Number(kind), process.env.${golden.inherited}, process.argv[2]]);
process.send({ type: "failed", exitCode: 1, message });
`,
    );
    const devices = { inherited: [2, 5, 7] } as unknown as KeptDevices;
    const worker = new WorkerProcess(
      program,
      "/mnt/photos",
      DaemonLog.inMemory(() => new Date()),
      devices,
    );
    try {
      const { message } = (await worker.reach("opened").catch((error: Error) => error)) as Error;
      expect(JSON.parse(message)).toEqual([5, "5 7", "/mnt/photos"]);
    } finally {
      await worker.kill();
      rmSync(folder, { recursive: true });
    }
  });

  it("the names of what is handed over", () => {
    const [fuse, memory, keeper] = golden.handedOver.names;
    expect(HANDED).toEqual({ fuse, memory, keeper });
  });

  it("the names of devices, and what is said of them", async () => {
    const { file, blockDevice, opened, closed } = golden.kept;
    const named = (isBlockDevice: boolean): string =>
      deviceIdentity({ isBlockDevice: () => isBlockDevice, dev: 2049n, ino: 100_000n, rdev: 2065n } as BigIntStats);
    expect([named(false), named(true)]).toEqual([file, blockDevice]);
    const kept = new KeptDevices();
    const [ours, theirs] = socketPair(true);
    const sender = new DeviceSender(ours, [], () => undefined);
    await sender.settle();
    sender.opened(file, 2);
    sender.closing(file);
    for (const words of [opened, closed]) {
      const message = receiveDescriptor(theirs, false);
      expect(message?.words).toBe(words);
      sendDescriptor(kept.socketFd, words, message?.fd);
      if (message?.fd !== undefined) closeSync(message.fd);
      expect(kept.receive()).toBe(words === closed);
      expect(kept.held.map(([name]) => name)).toEqual(words === closed ? [] : [file]);
    }
    for (const fd of [ours, theirs]) closeSync(fd);
    kept.close();
    await kept.closed();
  });

  it("the memory that they share", () => {
    const { bytes, agreed, journal, ringAt } = golden.memory;
    const [, minor, flags, flags2, maxReadaheadBytes] = agreed;
    const fd = createSharedMemory(JOURNAL_BYTES);
    expect(fstatSync(fd).size).toBe(bytes);
    const shared = new SharedMemory(fd, JOURNAL_BYTES);
    expect([shared.negotiated, negotiatedIn(fd)]).toEqual([undefined, undefined]);
    writeSync(fd, new Uint8Array(Float64Array.from(agreed).buffer), 0, undefined, 0);
    expect(shared.negotiated).toEqual({ minor, flags, flags2, maxReadaheadBytes });
    expect(negotiatedIn(fd)).toEqual(shared.negotiated);
    writeSync(fd, new Uint8Array(8 * agreed.length), 0, undefined, 0);
    shared.negotiated = { minor, flags, flags2, maxReadaheadBytes } as Negotiated;
    const words = new Float64Array(agreed.length);
    readSync(fd, words, 0, words.byteLength, 0);
    expect([...words]).toEqual(agreed);
    closeSync(fd);
    // A journal of any other form needs another first word, by which it is known for that.
    const inUse = new Journal(shared.journal);
    inUse.begin(root(7, 1));
    inUse.append([Uint8Array.of(1, 2, 3)]);
    inUse.sealed(root(8, 2));
    inUse.awaitBlocks();
    inUse.append([Uint8Array.of(4, 5)]);
    Object.assign(inUse, { landedBytes: 3, answeredBytes: 1, failedCopies: 4 });
    const head = new Float64Array(shared.journal.buffer, shared.journal.byteOffset, journal.length);
    expect([...head]).toEqual(journal);
    expect(shared.journal.indexOf(1, head.byteLength)).toBe(ringAt);
    expect([...shared.journal.subarray(ringAt, ringAt + 5)]).toEqual([1, 2, 3, 4, 5]);
  });
});
