// A log that can't be read whole, where no other copy has it: what was acknowledged is not dropped silently (trap 5). Whoever takes
// over has it from the journal.

import { describe, expect, it } from "vitest";
import { readRings } from "../../src/copies/ring.ts";
import { newestRoot } from "../../src/copies/choose-root.ts";
import { KIB } from "../../src/format/geometry.ts";
import {
  frameBytes,
  LOG_FRAME_ALIGN_BYTES,
  LOG_SEGMENT_BYTES,
  openFrame,
  logSeed,
} from "../../src/format/log-frame.ts";
import { type LogFound, readLog } from "../../src/log/read-log.ts";
import { rootEpoch, rootSequence } from "../../src/format/root-block.ts";
import { rootLogId } from "../../src/format/root-log.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

/** One copy whose log has several segments: of two fsyncs in the first, of one over all others, and of one more at the end. */
async function pending(seed: number): Promise<{ real: SimulatedVolume; wanted: readonly string[] }> {
  const real = await (await SimulatedVolume.format(seed, [16 * MIB])).remount();
  const { fs } = real;
  const { ino } = await fs.makeNode(ROOT, name("first"), 0o100644, 0, 0, CALLER);
  await fs.sync();
  await fs.write(ino, 0, new Uint8Array(1000).fill(1), {});
  await fs.sync();
  for (let i = 0; i < 30; i++) await fs.write(ino, i * 6000, new Uint8Array(5000).fill(i + 1), {});
  await fs.sync();
  await fs.makeNode(ROOT, name("last"), 0o100644, 0, 0, CALLER);
  await fs.sync();
  return { real, wanted: await describeFileSystem(fs) };
}

const nameIn = (line: string): string => line.slice(0, line.indexOf(" "));

interface Frame {
  readonly atByte: number;
  readonly lengthBytes: number;
}

/** The log as one copy has it. */
async function logOn(volume: SimulatedVolume, index: number): Promise<{ view: DataView; found: LogFound }> {
  const { view } = newestRoot((await readRings(volume.copies)).rings)!.root;
  return { view, found: (await readLog(view, [volume.copies.alone(volume.copies.copies[index]!)]))! };
}

/** A read of that place fails from now on. */
function spoil(volume: SimulatedVolume, index: number, atByte: number): void {
  const effect = { kind: "error", code: "EIO" } as const;
  volume.devices[index]!.fail({ operation: "read", nth: 1, atByte, permanent: true, effect });
}

/** Where each segment of the log begins, the one among them that is named and not begun. */
async function segmentsOf(volume: SimulatedVolume, index = 0): Promise<readonly number[]> {
  return (await logOn(volume, index)).found.segments[index]!.map((kib) => kib * KIB);
}

/** Where each frame of the log lies, in bytes of the copy. */
async function framesOf(volume: SimulatedVolume, index = 0): Promise<readonly Frame[]> {
  const { view, found } = await logOn(volume, index);
  const frames: { atByte: number; lengthBytes: number }[] = [];
  const place = {
    logId: rootLogId(view),
    number: 0,
    streamBytes: 0,
    previous: logSeed(rootSequence(view), rootEpoch(view)),
  };
  for (const [segment, kib] of found.segments[index]!.entries()) {
    const bytes = new Uint8Array(LOG_SEGMENT_BYTES);
    volume.devices[index]!.image.read(kib * KIB, bytes);
    for (let offsetBytes = 0; offsetBytes < LOG_SEGMENT_BYTES; ) {
      const frame = openFrame(bytes.subarray(offsetBytes), { ...place, segment, offsetBytes });
      if (frame === undefined) break;
      const lengthBytes = frameBytes(frame.payloadBytes);
      frames.push({ atByte: kib * KIB + offsetBytes, lengthBytes });
      place.number++;
      place.streamBytes += frame.payloadBytes;
      place.previous = frame.check;
      offsetBytes += lengthBytes;
    }
  }
  return frames;
}

describe("the only log at hand", () => {
  it("is carried out whole, or refused, when the n-th read of a mount fails, for every n (I4, trap 5)", async () => {
    const { real, wanted } = await pending(141);
    let refused = 0;
    for (let nth = 1; ; nth++) {
      const cut = real.atRest();
      const [device] = cut.devices;
      device!.fail({ operation: "read", nth, effect: { kind: "error", code: "EIO" } });
      const opened = await cut.reopened().catch((error: Error) => error);
      if (opened instanceof Error) {
        expect(opened.message, `read ${nth}`).not.toMatch(/internal|assert/i);
        refused++;
      } else expect(await describeFileSystem(opened.fs), `read ${nth}`).toEqual(wanted);
      if (device!.calls.read < nth) break;
    }
    expect(refused).toBeGreaterThan(4);
  });

  it("says which device gave nothing, and what to do; fsck -y goes on without it", async () => {
    const { real } = await pending(142);
    const [head] = await framesOf(real.atRest());
    const cut = real.atRest();
    const fault = { operation: "read", nth: 1, atByte: head!.atByte, effect: { kind: "error", code: "EIO" } } as const;
    cut.devices[0]!.fail(fault);
    await expect(cut.reopened()).rejects.toThrow(
      /log .* can't be read past 0 bytes \(copy0: read .*EIO.*fsck\.h2ts -y/,
    );
    const given = real.atRest();
    given.devices[0]!.fail(fault);
    expect((await describeFileSystem((await given.reopened({ dropLostLog: true })).fs)).length).toBe(1);
  });

  it("is refused when a bit is wrong in any frame that a later one says was flushed, alone in its segment or not (trap 5)", async () => {
    const { real, wanted } = await pending(143);
    const frames = await framesOf(real.atRest());
    expect(frames.some(({ lengthBytes }) => lengthBytes === LOG_SEGMENT_BYTES)).toBe(true);
    for (const [index, { atByte, lengthBytes }] of frames.entries()) {
      const cut = real.atRest();
      cut.devices[0]!.image.flipBit(atByte + Math.min(lengthBytes, LOG_FRAME_ALIGN_BYTES) / 2, 3);
      const opening = cut.reopened().then(({ fs }) => describeFileSystem(fs));
      // Nothing tells the last one from one that was torn before anybody was answered.
      if (index === frames.length - 1)
        expect(await opening).toEqual(wanted.filter((line) => !line.startsWith("/last")));
      else await expect(opening, `frame ${index}`).rejects.toThrow(/acknowledged bytes of log .* can be read/);
    }
  });

  it("is carried out although the segment after its last one, which was never begun, can't be read (I9)", async () => {
    const { real, wanted } = await pending(146);
    const last = (await framesOf(real.atRest())).at(-1)!;
    const cut = real.atRest();
    const unbegun = (await segmentsOf(real.atRest())).at(-1)!;
    expect(last.atByte >= unbegun && last.atByte < unbegun + LOG_SEGMENT_BYTES).toBe(false);
    spoil(cut, 0, unbegun);
    expect(await describeFileSystem((await cut.reopened()).fs)).toEqual(wanted);
  });

  it("is refused where it goes on behind a damaged frame, and that can't be read (trap 5)", async () => {
    const { real } = await pending(147);
    const [, second] = await framesOf(real.atRest());
    const [head, further] = await segmentsOf(real.atRest());
    expect(second!.atByte).toBeLessThan(head! + LOG_SEGMENT_BYTES);
    const cut = real.atRest();
    cut.devices[0]!.image.flipBit(second!.atByte + 1000, 3);
    spoil(cut, 0, further!);
    await expect(cut.reopened().then(() => undefined)).rejects.toThrow(/acknowledged bytes|can't be read past/);
  });

  it("is not asked for by whoever takes over, who has all of it in the journal", async () => {
    const { real, wanted } = await pending(144);
    const [first] = await framesOf(real.atRest());
    real.devices[0]!.image.flipBit(first!.atByte + 1000, 0);
    await expect(
      real
        .atRest()
        .reopened()
        .then(() => undefined),
    ).rejects.toThrow(/acknowledged bytes/);
    expect(await describeFileSystem((await real.takeOver()).fs)).toEqual(wanted);
  });
});

describe("a log of two copies", () => {
  it.each([0, 1])("is whole if one of them has it, whatever copy %d says (I9)", async (bad) => {
    const real = await (await SimulatedVolume.format(145, [16 * MIB, 17 * MIB])).remount();
    const { ino } = await real.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
    for (let i = 0; i < 30; i++) await real.fs.write(ino, i * 6000, new Uint8Array(5000).fill(i + 1), {});
    await real.fs.sync();
    const wanted = await describeFileSystem(real.fs);
    const { view } = newestRoot((await readRings(real.atRest().copies)).rings)!.root;
    const found = (await readLog(
      view,
      real.copies.copies.map((copy) => real.copies.alone(copy)),
    ))!;
    for (const kib of found.segments[bad]!) {
      const cut = real.atRest();
      const fault = { operation: "read", nth: 1, atByte: kib * KIB, permanent: true } as const;
      cut.devices[bad]!.fail({ ...fault, effect: { kind: "error", code: "EIO" } });
      expect(await describeFileSystem((await cut.reopened()).fs)).toEqual(wanted);
    }
  });

  it("is whole if one was read to its end, although the other has more, and then something that can't be read (I9)", async () => {
    const real = await (await SimulatedVolume.format(148, [16 * MIB, 17 * MIB])).remount();
    const { ino } = await real.fs.makeNode(ROOT, name("first"), 0o100644, 0, 0, CALLER);
    await real.fs.sync();
    const acknowledged = await describeFileSystem(real.fs);
    for (let i = 0; i < 30; i++) await real.fs.write(ino, i * 6000, new Uint8Array(5000).fill(i + 1), {});
    await real.fs.sync();
    // Of what nobody was answered some had reached copy 0 only.
    const cut = real.atRest();
    const [, ...torn] = await framesOf(real.atRest(), 1);
    for (const { atByte, lengthBytes } of torn) cut.devices[1]!.image.write(atByte, new Uint8Array(lengthBytes));
    const [head, further] = await segmentsOf(real.atRest());
    const [, more] = await framesOf(real.atRest());
    expect(more!.atByte + more!.lengthBytes).toBe(head! + LOG_SEGMENT_BYTES);
    spoil(cut, 0, further!);
    const found = await describeFileSystem((await cut.reopened()).fs);
    expect(found.map(nameIn)).toEqual(acknowledged.map(nameIn));
    expect(found).not.toEqual(acknowledged);
  });
});
