// As seeded-bugs.test.ts, for the log: what a sync through it promises hangs on each of these, so each of them, put in on
// purpose, must show in some crash state.

import { afterEach, describe, expect, it, vi } from "vitest";
import { CopySet } from "../../src/copies/copy-set.ts";
import type { FramePlace, openFrame } from "../../src/format/log-frame.ts";
import { Leaf, NO_RUN } from "../../src/freemap/leaf.ts";
import { Log } from "../../src/log/log.ts";
import { IntentLog } from "../../src/volume/intent-log.ts";
import type { claimPending, PendingLog, replay } from "../../src/volume/replay.ts";
import { MIB } from "../model/simulated-volume.ts";
import { freeLoggedAtOnce } from "../model/planted-bugs.ts";
import { type Hunt, isCaught } from "./hunt.ts";
import { type Recording, record, tryCrashes } from "./power-cut.ts";

type OpenFrame = typeof openFrame;
type Pending = Parameters<typeof claimPending>[0];

interface Bugs {
  claimed?: (pending: Pending) => Pending;
  replayed?: (pending: PendingLog) => PendingLog;
  expected?: (bytes: Uint8Array, place: FramePlace) => FramePlace;
}

/** Bugs in functions that a spy can't reach: each changes what the real one is given. */
const bugs = vi.hoisted((): Bugs => ({}));

vi.mock(import("../../src/volume/replay.ts"), async (original) => {
  const real = await original();
  const claim: typeof claimPending = (pending, ...rest) =>
    real.claimPending(bugs.claimed?.(pending) ?? pending, ...rest);
  const carryOut: typeof replay = (pending, parts) => real.replay(bugs.replayed?.(pending) ?? pending, parts);
  return { ...real, claimPending: claim, replay: carryOut };
});

vi.mock(import("../../src/format/log-frame.ts"), async (original) => {
  const real = await original();
  const open: OpenFrame = (bytes, place) => real.openFrame(bytes, bugs.expected?.(bytes, place) ?? place);
  return { ...real, openFrame: open };
});

function mend(): void {
  vi.restoreAllMocks();
  delete bugs.claimed;
  delete bugs.replayed;
  delete bugs.expected;
}

afterEach(mend);

const caught = (planting: Partial<Pick<Hunt<Recording>, "writing" | "reading" | "seeds">>): Promise<boolean> =>
  isCaught({
    seeds: 6,
    ...planting,
    mend,
    record: (seed) => record(seed, [16 * MIB, 16 * MIB], 120, 140_000),
    judge: (recording) =>
      tryCrashes(recording, { every: 3, perCut: 2, recrash: planting.reading !== undefined, failuresMax: 1 }),
  });

/**
 * Allocates from a given place of the (only) leaf each time, so that what is free by mistake is taken again at once: the
 * allocator may stand anywhere.
 */
function allocateFrom(placeKib: () => number): void {
  const find = Leaf.prototype.find;
  vi.spyOn(Leaf.prototype, "find").mockImplementation(function (this: Leaf, sizeKib, _from, sparing) {
    const at = find.call(this, sizeKib, placeKib() >>> 5, sparing);
    return at === NO_RUN ? find.call(this, sizeKib, 0, sparing) : at;
  });
}

const BEGINNING = (): number => 0;

/** Changes the frames made for a sync, or those carried over into the log of a new root. */
function alterFrames(
  of: "sync" | "commit" | "both",
  alter: (make: Log["frames"], to: number, sureBytes: number) => ReturnType<Log["frames"]>,
): void {
  const frames = Log.prototype.frames;
  vi.spyOn(Log.prototype, "frames").mockImplementation(function (this: Log, to, sureBytes) {
    const carriedOver = to === sureBytes;
    if (of !== "both" && carriedOver !== (of === "commit")) return frames.call(this, to, sureBytes);
    return alter(frames.bind(this), to, sureBytes);
  });
}

describe("a seeded bug in what writes the log is caught", () => {
  it("a sync is acknowledged before its frames are flushed (I4)", async () => {
    const plant = (): void => {
      let framed = false;
      alterFrames("sync", (make, to, sureBytes) => {
        framed = true;
        return make(to, sureBytes);
      });
      const flush = CopySet.prototype.flush;
      vi.spyOn(CopySet.prototype, "flush").mockImplementation(function (this: CopySet) {
        if (!framed) return flush.call(this);
        framed = false;
        return Promise.resolve();
      });
    };
    expect(await caught({ writing: plant })).toBe(true);
  });

  it("frames are written to one copy only (I2)", async () => {
    const plant = (): void =>
      alterFrames("both", (make, to, sureBytes) =>
        make(to, sureBytes)?.map((write) => ({
          ...write,
          pointers: write.pointers.map((kib, i) => (i === 1 ? 0 : kib)),
        })),
      );
    expect(await caught({ writing: plant })).toBe(true);
  });

  it("frames claim themselves to be flushed (I4, trap 5)", async () => {
    expect(await caught({ writing: () => alterFrames("sync", (make, to) => make(to, to)) })).toBe(true);
  });

  it("places of early blocks are free at once although a record names them (I3)", async () => {
    const plant = (): void => {
      freeLoggedAtOnce();
      allocateFrom(BEGINNING);
    };
    expect(await caught({ writing: plant })).toBe(true);
  });

  it("a commit does not carry over what was acknowledged after its seal (I4)", async () => {
    const plant = (): void => {
      vi.spyOn(IntentLog.prototype, "close").mockResolvedValue(true);
    };
    expect(await caught({ writing: plant })).toBe(true);
  });

  it("syncs are answered through the old log while either root may be what a crash leaves (I4)", async () => {
    const plant = (): void => {
      const close = IntentLog.prototype.close;
      vi.spyOn(IntentLog.prototype, "close").mockImplementation(async function (this: IntentLog) {
        const done = await close.call(this);
        this.reopen();
        return done;
      });
    };
    expect(await caught({ writing: plant })).toBe(true);
  });
});

describe("a seeded bug in what reads the log is caught", () => {
  it("places that records name are not claimed at open (trap 4)", async () => {
    const plant = (): void => {
      let placeKib = 0;
      allocateFrom(() => placeKib);
      bugs.claimed = (pending) => {
        placeKib = pending.records.at(-1)?.early[0]?.pointers[0] ?? 0;
        return { ...pending, records: [] };
      };
    };
    expect(await caught({ reading: plant })).toBe(true);
  });

  it("segments of the log are not claimed at open (trap 4)", async () => {
    const plant = (): void => {
      bugs.claimed = (pending) => ({ ...pending, segments: [] });
    };
    expect(await caught({ writing: () => allocateFrom(BEGINNING), reading: plant })).toBe(true);
  });

  it("frames that an older log left in a segment used again are accepted (trap 5)", async () => {
    const plant = (): void => {
      bugs.expected = (bytes, place) =>
        bytes.length < 192 ? place : { ...place, logId: bytes.slice(8, 24), previous: bytes.slice(104, 136) };
    };
    expect(await caught({ reading: plant })).toBe(true);
  });

  it("blocks past what was flushed are not looked at (trap 4a)", async () => {
    const plant = (): void => {
      bugs.replayed = (pending) => ({ ...pending, sureBytes: Infinity });
    };
    expect(await caught({ reading: plant })).toBe(true);
  });

  it("a record is left out (I4, trap 6)", async () => {
    const plant = (): void => {
      bugs.replayed = (pending) => ({ ...pending, records: pending.records.filter((_, i) => i % 5 !== 2) });
    };
    expect(await caught({ reading: plant })).toBe(true);
  });

  it("records are carried out in another order (I4, trap 6)", async () => {
    const plant = (): void => {
      bugs.replayed = (pending) => {
        const records = [...pending.records];
        for (let i = 1; i < records.length; i += 4) records.splice(i - 1, 2, ...records.slice(i - 1, i + 1).reverse());
        return { ...pending, records };
      };
    };
    expect(await caught({ reading: plant })).toBe(true);
  });
});

it("nothing is caught where nothing was planted", async () => {
  const plant = (): void => allocateFrom(BEGINNING);
  expect(await caught({ writing: plant, reading: plant, seeds: 1 })).toBe(false);
});
