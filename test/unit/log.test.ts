// Journal, records and frames by themselves (I4, I12).

import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  frameBytes,
  frameCheck,
  type FrameHead,
  LOG_FRAME_HEADER_BYTES,
  logSeed,
  openFrame,
  sealFrame,
} from "../../src/format/log-frame.ts";
import { ROOT_BYTES } from "../../src/format/root-block.ts";
import { beginRootEpoch, setRootSequence } from "../../src/format/root-history.ts";
import { Freemap } from "../../src/freemap/freemap.ts";
import { Journal, RECORD_BYTES_MAX } from "../../src/log/journal.ts";
import { Segments } from "../../src/log/segments.ts";
import type { Operation } from "../../src/ops/operation.ts";
import { setRootLog } from "../../src/format/root-log.ts";
import { Recorder, readRecords } from "../../src/ops/record.ts";

const RING_BYTES = 3 * RECORD_BYTES_MAX;
const memory = (): Uint8Array => new Uint8Array(64 + RING_BYTES);
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

/** A root with nothing but a sequence, an epoch and the id of a log. */
function root(sequence: number, epoch = 1, log = 9): DataView {
  const view = new DataView(new ArrayBuffer(ROOT_BYTES));
  beginRootEpoch(view, filled(16, epoch));
  setRootSequence(view, sequence);
  setRootLog(view, filled(16, log), []);
  return view;
}

describe("the journal", () => {
  it("gives back what was appended, round its end and over again", () => {
    const journal = new Journal(memory());
    journal.begin(root(7));
    for (let i = 0; i < 40; i++) {
      const at = journal.append([filled(100_000 + i, i), filled(17, 255 - i)]);
      const back = new Uint8Array(100_017 + i);
      journal.read(at, back);
      expect(back[0]).toBe(i);
      expect(back.at(-1)).toBe(255 - i);
      journal.sealed(root(8 + i));
      journal.rootDurable();
    }
    expect(journal.startBytes).toBe(journal.endBytes);
  });

  it("tells a process after us what the newest root lacks, whichever of the two that is (I4)", () => {
    const shared = memory();
    const journal = new Journal(shared);
    journal.begin(root(7));
    journal.append([filled(10, 1)]);
    journal.sealed(root(8));
    journal.append([filled(5, 2)]);
    const after = new Journal(shared.slice());
    expect(after.after(root(7))?.stream).toEqual(Uint8Array.of(...filled(10, 1), ...filled(5, 2)));
    expect(after.after(root(8))?.stream).toEqual(filled(5, 2));
    expect(after.after(root(9))).toBeUndefined();
    journal.rootDurable();
    const later = new Journal(shared.slice());
    expect(later.after(root(8))?.stream).toEqual(filled(5, 2));
    expect(later.after(root(7))).toBeUndefined();
  });

  it("knows no root of another epoch, whatever its number: somebody else wrote it (I6)", () => {
    const shared = memory();
    const journal = new Journal(shared);
    journal.begin(root(7, 1));
    journal.sealed(root(8, 2));
    const known = (): string[] => {
      const after = new Journal(shared.slice());
      return [7, 8]
        .flatMap((sequence) =>
          [1, 2, 3].map((epoch) => (after.knows(root(sequence, epoch)) ? `${sequence} of ${epoch}` : "")),
        )
        .filter((text) => text !== "");
    };
    expect(known()).toEqual(["7 of 1", "8 of 2"]);
    journal.rootDurable();
    expect(known()).toEqual(["8 of 2"]);
  });

  it("knows no root that names another log: somebody else wrote it, from the same root and in the same epoch (I11)", () => {
    const shared = memory();
    const journal = new Journal(shared);
    journal.begin(root(7, 1, 1));
    journal.sealed(root(8, 1, 2));
    const knows = (sequence: number, log: number): boolean => new Journal(shared.slice()).knows(root(sequence, 1, log));
    expect([knows(7, 1), knows(8, 2), knows(7, 2), knows(8, 1), knows(8, 3)]).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    journal.rootDurable();
    expect([knows(7, 1), knows(8, 2), knows(8, 3)]).toEqual([false, true, false]);
  });

  it("tells the terms of roots that are not durable on all, unless a version that does not tell issued another since (I2)", () => {
    const shared = memory();
    const journal = new Journal(shared);
    const [two, three] = [
      { inSync: 0b11, minCopies: 1 },
      { inSync: 0b111, minCopies: 2 },
    ];
    const known = (): unknown => new Journal(shared.slice()).terms;
    journal.begin(root(7, 1), [two]);
    expect(known()).toEqual([two]);
    journal.sealed(root(8, 1));
    for (let times = 0; times < 40; times++) for (const terms of [two, three]) journal.noteTerms(terms);
    journal.rootDurable();
    expect(known()).toEqual([two, three]);
    journal.keepTerms(three);
    expect(known()).toEqual([three]);
    // Such a version says only how far it came.
    new Float64Array(shared.buffer, shared.byteOffset, 9)[8] = 9;
    expect(known()).toEqual([]);
    journal.sealed(root(10, 1));
    expect(known()).toEqual([]);
    journal.noteTerms(two);
    expect(known()).toEqual([two]);
    journal.begin(root(3, 2));
    expect(known()).toEqual([]);
  });

  it("tells the truth wherever a process is killed between two stores: a root's log, or that it does not know (I4, trap 3)", () => {
    // Every state that the memory passes through, one store at a time.
    const states: { readonly memory: Uint8Array; readonly doing: string }[] = [];
    let doing = "";
    const epochOf = (sequence: number): number => (sequence < 8 ? 1 : 2);
    const real = Float64Array;
    const shared = memory();
    vi.stubGlobal("Float64Array", function (...words: ConstructorParameters<typeof Float64Array>) {
      return new Proxy(new real(...words), {
        get: (target, field) => Reflect.get(target, field) as unknown,
        set(target, field, value: number) {
          target[Number(field)] = value;
          states.push({ memory: shared.slice(), doing });
          return true;
        },
      });
    });
    const journal = new Journal(shared);
    vi.unstubAllGlobals();
    const step = (what: string, body: () => void): void => {
      doing = what;
      body();
    };
    journal.begin(root(7, epochOf(7)));
    step("append", () => journal.append([filled(10, 1)]));
    step("seal", () => journal.sealed(root(8, epochOf(8))));
    step("append after", () => journal.append([filled(5, 2)]));
    step("root durable", () => journal.rootDurable());
    step("seal given up", () => journal.sealed(root(9, epochOf(9))));
    step("seal again", () => journal.sealed(root(10, epochOf(10))));
    const [ten, five] = [filled(10, 1), filled(5, 2)];
    const tenAndFive = Uint8Array.of(...ten, ...five);
    /** What may follow each root: nothing else, but nobody has to know any more. */
    const wanted: Record<string, Record<number, readonly Uint8Array[]>> = {
      append: { 7: [new Uint8Array(0), ten] },
      seal: { 7: [ten], 8: [new Uint8Array(0)] },
      "append after": { 7: [ten, tenAndFive], 8: [new Uint8Array(0), five] },
      "root durable": { 7: [tenAndFive], 8: [five] },
      "seal given up": { 8: [five], 9: [new Uint8Array(0)] },
      "seal again": { 8: [five], 9: [new Uint8Array(0)], 10: [new Uint8Array(0)] },
    };
    /** Roots that are on media for sure at the time: with these it has to be known. */
    const known: Record<string, number> = { append: 7, seal: 7, "append after": 7, "root durable": 8, "seal again": 8 };
    for (const { memory: killed, doing: what } of states) {
      if (what === "") continue;
      const after = new Journal(killed);
      for (let sequence = 6; sequence <= 11; sequence++) {
        const stream = after.after(root(sequence, epochOf(sequence)))?.stream;
        if (stream === undefined) expect(sequence, what).not.toBe(known[what]);
        else expect(wanted[what]?.[sequence] ?? [], `${what}, root ${sequence}`).toContainEqual(stream);
        // Somebody else's, or what two stores of an epoch make of two.
        for (const epoch of [1, 2, 3].filter((other) => other !== epochOf(sequence)))
          expect(after.knows(root(sequence, epoch)), `${what}, root ${sequence} of epoch ${epoch}`).toBe(false);
      }
      // Whoever seals next must not take a sequence that means something else on some copy.
      expect(after.issuedSequence).toBeGreaterThanOrEqual({ append: 7, "seal again": 9 }[what] ?? 7);
    }
    expect(new Set(states.map(({ doing: what }) => what)).size).toBe(7);
  });

  it("names who waits for blocks, until they are there or in a root (trap 4a)", () => {
    const shared = memory();
    const journal = new Journal(shared);
    journal.begin(root(7));
    journal.append([filled(10, 1)]);
    const waitsFor = (): number => {
      const slot = journal.awaitBlocks();
      journal.append([filled(20, 2)]);
      return slot as number;
    };
    const [first, second] = [waitsFor(), waitsFor()];
    const waiting = (sequence: number): number[] => [
      ...(new Journal(shared.slice()).after(root(sequence))?.waiting ?? []),
    ];
    expect(waiting(7).filter((at) => at >= 0)).toEqual([10, 30]);
    journal.arrived(second);
    journal.sealed(root(8));
    const third = waitsFor();
    expect(third).toBe(second);
    expect(waiting(7).filter((at) => at >= 0)).toEqual([10, 50]);
    expect(waiting(8).filter((at) => at >= 0)).toEqual([0]);
    journal.rootDurable();
    // The first is in the root: its place is another's.
    expect(waitsFor()).toBe(first);
    expect(waiting(8).filter((at) => at >= 0)).toEqual([20, 0]);
    for (let waits = 2; waits < 95; waits++) expect(waitsFor()).toBeDefined();
    expect(waitsFor()).toBeUndefined();
  });

  it("asks for a commit when half full, and says when the next record may not fit", () => {
    const journal = new Journal(memory());
    journal.begin(root(1));
    expect([journal.wantsCommit, journal.isFull]).toEqual([false, false]);
    journal.append([filled(RING_BYTES / 2 + 1, 0)]);
    expect([journal.wantsCommit, journal.isFull]).toEqual([true, false]);
    journal.append([filled(RECORD_BYTES_MAX, 0)]);
    expect(journal.isFull).toBe(true);
  });

  it("refuses memory that is none of its own (I12)", () => {
    expect(() => new Journal(memory().fill(3))).toThrow("is no journal");
  });
});

const safe = fc.nat({ max: 2 ** 40 });
const time = fc.record({ sec: fc.integer(), nsec: fc.nat({ max: 999_999_999 }) });
const bytes = fc.uint8Array({ maxLength: 300 });
const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.record(
    {
      op: fc.constant("create" as const),
      parent: safe,
      name: bytes,
      ino: safe,
      mode: safe,
      umask: safe,
      uid: safe,
      gid: safe,
      rdevMajor: safe,
      rdevMinor: safe,
      target: bytes,
      time,
      generation: safe,
    },
    { requiredKeys: ["op", "parent", "ino", "mode", "umask", "uid", "gid", "rdevMajor", "rdevMinor", "time"] },
  ),
  fc.record({ op: fc.constant("link" as const), ino: safe, parent: safe, name: bytes, time }),
  fc.record({ op: fc.constantFrom("unlink" as const, "rmdir" as const), parent: safe, name: bytes, time }),
  fc.record({
    op: fc.constant("rename" as const),
    parent: safe,
    name: bytes,
    newParent: safe,
    newName: bytes,
    replace: fc.boolean(),
    exchange: fc.boolean(),
    time,
  }),
  fc.record(
    {
      op: fc.constant("setattr" as const),
      ino: safe,
      mode: safe,
      uid: safe,
      gid: safe,
      size: safe,
      atime: time,
      mtime: time,
      ctime: time,
      killPrivileges: fc.boolean(),
      time,
    },
    { requiredKeys: ["op", "ino", "killPrivileges", "time"] },
  ),
  fc.record(
    {
      op: fc.constant("write" as const),
      ino: safe,
      offset: safe,
      data: bytes,
      append: fc.boolean(),
      killPrivileges: fc.boolean(),
      time,
    },
    { requiredKeys: ["op", "ino", "offset", "data", "append", "killPrivileges"] },
  ),
  fc.record(
    { op: fc.constant("extend" as const), ino: safe, size: safe, time, keepPrivileges: fc.boolean() },
    { requiredKeys: ["op", "ino", "size", "time"] },
  ),
  fc.record(
    { op: fc.constant("punch" as const), ino: safe, offset: safe, end: safe, time, keepPrivileges: fc.boolean() },
    { requiredKeys: ["op", "ino", "offset", "end", "time"] },
  ),
  fc.record({
    op: fc.constant("setxattr" as const),
    ino: safe,
    name: fc.string({ unit: "binary-ascii" }),
    value: bytes,
    create: fc.boolean(),
    replace: fc.boolean(),
    killSgid: fc.boolean(),
    time,
  }),
  fc.record({ op: fc.constant("removexattr" as const), ino: safe, name: fc.string({ unit: "binary-ascii" }), time }),
  fc.record({ op: fc.constant("release" as const), ino: safe }),
);

function stream(recorded: readonly (readonly [Operation, number])[]): Uint8Array {
  const recorder = new Recorder();
  return new Uint8Array(
    Buffer.concat(recorded.map(([operation, request]) => Buffer.concat(recorder.encode(operation, request, [])))),
  );
}

describe("records", () => {
  it("are read back as they were (I4)", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(operations, safe)), (recorded) => {
        const back = [...readRecords(stream(recorded))];
        expect(back.map(({ operation, requestId }) => [operation, requestId])).toEqual(recorded);
      }),
    );
  });

  it("of the form that earlier versions wrote are read as they meant them", () => {
    const time = { sec: 5, nsec: 6 };
    const extend = stream([[{ op: "extend", ino: 7, size: 8, time }, 9]]);
    // Without the last field, which says that there is none.
    const older = extend.slice(0, -1);
    older[0] = older.length;
    older[4] = 7;
    expect([...readRecords(older)].map(({ operation }) => operation)).toEqual([
      { op: "extend", ino: 7, size: 8, time },
    ]);
  });

  it("end at the last whole one when the stream is cut anywhere (trap 5)", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(operations, safe), { minLength: 1 }), fc.nat(), (recorded, cut) => {
        const whole = stream(recorded);
        const back = [...readRecords(whole.subarray(0, cut % (whole.length + 1)))];
        expect(back.map(({ operation }) => operation)).toEqual(
          recorded.slice(0, back.length).map(([operation]) => operation),
        );
      }),
    );
  });

  it("that make no sense are refused with a typed error, whatever they hold (I12)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (garbage) => {
        try {
          expect([...readRecords(garbage)].length).toBeGreaterThanOrEqual(0);
        } catch (error) {
          expect((error as { code?: string }).code).toBe("EIO");
        }
      }),
    );
  });

  it("name whole blocks instead of their content, which comes back as zeros", () => {
    const data = new Uint8Array(200_000).map((_, i) => i);
    const early = [{ key: 65536 * 2, pointers: [64, 128, 0, 0, 0, 0, 0, 0], check: filled(32, 9) }];
    const operation = { op: "write", ino: 5, offset: 100_000, data, append: false, killPrivileges: false } as const;
    const pieces = new Recorder().encode(operation, 0, early);
    const bytes = new Uint8Array(Buffer.concat(pieces));
    expect(bytes.length).toBeLessThan(200_000 - 65536 + 500);
    const [back] = [...readRecords(bytes)];
    expect(back?.early).toEqual(early);
    const expected = data.slice().fill(0, 65536 * 2 - 100_000, 65536 * 3 - 100_000);
    expect((back?.operation as { data: Uint8Array }).data).toEqual(expected);
  });
});

describe("a frame", () => {
  const logId = filled(16, 4);
  const head: FrameHead = {
    logId,
    number: 3,
    segment: 1,
    offsetBytes: 8192,
    streamBytes: 1000,
    sureBytes: 900,
    next: [64, 0, 0, 0, 0, 0, 0, 192],
    previous: logSeed(12, filled(16, 5)),
    payloadBytes: 5000,
  };
  const bytes = new Uint8Array(frameBytes(5000));
  bytes.fill(0xab, LOG_FRAME_HEADER_BYTES, LOG_FRAME_HEADER_BYTES + 5000);
  sealFrame(bytes, head);

  it("is opened where it was put, and nowhere else (trap 5)", () => {
    expect(openFrame(bytes, head)).toMatchObject({ ...head, check: frameCheck(bytes) });
    const others: Partial<FrameHead>[] = [
      { logId: filled(16, 6) },
      { number: 4 },
      { segment: 0 },
      { offsetBytes: 0 },
      { streamBytes: 1001 },
      { previous: logSeed(13, filled(16, 5)) },
    ];
    for (const other of others) expect(openFrame(bytes, { ...head, ...other })).toBeUndefined();
  });

  it("with any bit flipped is no frame (I12)", () => {
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 7 }), (at, bit) => {
        const spoilt = bytes.slice();
        spoilt[at] = (spoilt[at] as number) ^ (1 << bit);
        expect(openFrame(spoilt, head)).toBeUndefined();
      }),
    );
  });
});

describe("room for logs", () => {
  it("that was being prepared on a copy that left is nothing to the one that got its index", () => {
    for (const inSync of [true, false]) {
      const freemaps: (Freemap | undefined)[] = [new Freemap(0, 32 * 1024, () => undefined)];
      const segments = new Segments(freemaps);
      segments.provide(0b1, 16);
      const unprepared = segments.toPrepare(0, 16)!;
      freemaps[0] = undefined;
      segments.provide(0, 0);
      const next = (freemaps[0] = new Freemap(0, 32 * 1024, () => undefined));
      const ended = vi.spyOn(next, "endReservation");
      segments.provide(inSync ? 0b1 : 0, 4);
      const { unusedKib } = next;
      segments.prepared(unprepared);
      expect(ended).not.toHaveBeenCalled();
      const taken = Array.from({ length: 8 }, () => segments.take(inSync ? 0b1 : 0)?.[0]);
      expect(taken.filter((kib) => kib !== undefined && kib !== 0)).toHaveLength(inSync ? 4 : 0);
      expect(next.unusedKib).toBe(unusedKib);
    }
  });
});
