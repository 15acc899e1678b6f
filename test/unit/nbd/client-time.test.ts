// How long a remote node is tried for, to the millisecond: the link under virtual time, against our own server over streams in
// memory. Only the way there is the test's, which can be closed.

import { beforeEach, describe, expect, it } from "vitest";
import { SimulatedDevice } from "../../../src/device/simulated.ts";
import { SimulatedClock } from "../../../src/device/simulated-clock.ts";
import type { NodeEvent } from "../../../src/nbd/client/events.ts";
import { Link } from "../../../src/nbd/client/link.ts";
import { POLICY_DEFAULT, type RemotePolicy } from "../../../src/nbd/client/policy.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { ClosableWay } from "./closable-way.ts";
import { quiet } from "./quiet.ts";
import { RecordInMemory, ServerScene, SIZE_BYTES } from "./server-scene.ts";

const BLOCK = new Uint8Array(4096).fill(1);

let clock: SimulatedClock;
let scene: ServerScene;
let way: ClosableWay;
let events: NodeEvent[];
let record: RecordInMemory;
beforeEach(() => {
  record = new RecordInMemory();
  clock = new SimulatedClock();
  scene = new ServerScene({ clock, limits: DEFAULT_LIMITS });
  way = new ClosableWay(clock, () => scene.connect());
  events = [];
});

async function pass(durationMs: number): Promise<void> {
  await clock.advance(durationMs);
  await quiet();
}

function open(policy: Partial<RemotePolicy>): Promise<Link> {
  const observer = ({ event }: { event: NodeEvent }): void => void events.push(event);
  return Link.open(way, { name: "x", clock, policy: { ...POLICY_DEFAULT, ...policy }, observer, writable: true });
}

/** What became of a request so far. Whatever it sets off at once is over. */
async function watched(work: Promise<void>): Promise<{ said: string }> {
  const seen = { said: "nothing" };
  work.then(
    () => (seen.said = "done"),
    (error: Error) => (seen.said = error.message),
  );
  await quiet();
  return seen;
}

const write = (link: Link, at = 0): Promise<{ said: string }> =>
  watched(link.requests.write(at, BLOCK.length, [BLOCK]));

/** The server does not finish its next operation of this kind before the promise does. */
function holdNext(operation: "read" | "write"): () => void {
  let letGo = (): void => undefined;
  const until = new Promise<void>((resolve) => (letGo = resolve));
  scene.device.fail({ operation, nth: 1, effect: { kind: "late", until } });
  return letGo;
}

describe("a connection that is lost", () => {
  it("is tried for at once, after 50 ms, and after twice as long each time, up to a second", async () => {
    const link = await open({ timeoutMs: 60_000 });
    await way.cut();
    await write(link);
    for (let ms = 0; ms < 5000; ms += 10) await clock.advance(10);
    expect(way.triedMs).toEqual([0, 50, 150, 350, 750, 1550, 2550, 3550, 4550]);
  });

  it("is given up when nbd-retry tries have failed, and the pause after the last is over", async () => {
    const link = await open({ retryCount: 3 });
    await way.cut();
    const request = await write(link);
    await pass(349);
    expect({ tries: way.triedMs, ...request }).toEqual({ tries: [0, 50, 150], said: "nothing" });
    await pass(1);
    expect(way.triedMs).toEqual([0, 50, 150]);
    expect(request.said).toMatch(/no connection after 3 tries/);
  });

  it("is tried for without end while nobody waits; a request is tried for at once, and has all its tries", async () => {
    const link = await open({ retryCount: 2 });
    await way.cut();
    await pass(3600_000);
    expect(link.state).toBe("reconnecting");
    expect(way.triedMs.length).toBeGreaterThan(3500);
    way.triedMs.length = 0;
    const askedMs = clock.monotonicMs();
    const request = await watched(link.requests.read(0, 4096, [new Uint8Array(4096)]));
    await pass(1999);
    expect({ tries: way.triedMs, ...request }).toEqual({ tries: [askedMs, askedMs + 1000], said: "nothing" });
    await pass(1);
    expect(request.said).toMatch(/no connection after 2 tries/);
  });
});

describe("a server that hangs up at a certain request", () => {
  it("is asked for it with growing pauses, though it lets itself be connected to each time", async () => {
    const device = new SimulatedDevice("disk", SIZE_BYTES);
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, device });
    const link = await open({ timeoutMs: 60_000 });
    way.triedMs.length = 0;
    device.write = () => {
      way.drop();
      return Promise.resolve();
    };
    await write(link);
    for (let ms = 0; ms < 5000; ms += 10) await pass(10);
    expect(way.triedMs).toEqual([0, 50, 150, 350, 750, 1550, 2550, 3550, 4550]);
  });
});

describe("a server that hangs up at a certain request after it let in further connections", () => {
  it("is asked for it with growing pauses all the same: those were no requests", async () => {
    const device = new SimulatedDevice("disk", SIZE_BYTES);
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, device });
    const link = await open({ timeoutMs: 60_000, connections: 3 });
    await quiet();
    way.triedMs.length = 0;
    let most = 0;
    device.write = async () => {
      for (let i = 0; i < 5; i++) await quiet();
      most = Math.max(most, link.connections);
      way.drop();
    };
    await write(link);
    for (let ms = 0; ms < 5000; ms += 10) await pass(10);
    expect(most).toBe(3);
    expect(way.triedMs.length).toBeGreaterThan(5);
    expect(way.triedMs.length).toBeLessThan(12);
  });
});

describe("another address that is better", () => {
  it("is changed to when what is under way is answered soon; else it goes on by the one in use", async () => {
    const link = await open({ timeoutMs: 8000 });
    way.triedMs.length = 0;
    const letGo = holdNext("write");
    const request = await write(link);
    way.onBetter("the other one");
    const meanwhile = await write(link, 8192);
    await pass(999);
    expect(meanwhile.said).toBe("nothing");
    await pass(1);
    expect(meanwhile.said).toBe("done");
    letGo();
    await quiet();
    expect(request.said).toBe("done");
    expect(way.triedMs).toEqual([]);
    way.onBetter("the other one");
    await quiet();
    await pass(1);
    expect(way.triedMs).toHaveLength(1);
    expect((await write(link)).said).toBe("done");
  });

  it("is of no use when a request has waited too long: then no late answer gets to its memory any more (I5)", async () => {
    const link = await open({ timeoutMs: 8000 });
    await link.requests.write(0, BLOCK.length, [BLOCK]);
    const letGo = holdNext("read");
    const target = new Uint8Array(BLOCK.length);
    const request = await watched(link.requests.read(0, BLOCK.length, [target]));
    await pass(7900);
    way.onBetter("the other one");
    await pass(500);
    expect(request.said).toMatch(/no answer within 8000 ms/);
    // Whoever asked uses it for something else.
    letGo();
    await pass(1);
    expect(target).toEqual(new Uint8Array(BLOCK.length));
    await link.close();
  });
});

describe("a link that is closed while it changes its address", () => {
  /** The server keeps the lease of a client that did not say goodbye. */
  const closed = async (link: Link): Promise<{ isHeld: boolean }> => {
    const closing = link.close();
    closing.catch(() => undefined);
    await quiet();
    return {
      get isHeld() {
        return scene.served.lease.isHeld;
      },
    };
  };

  it("says goodbye by the one in use when the other is not there yet", async () => {
    const link = await open({ timeoutMs: 8000 });
    const letGo = holdNext("write");
    await write(link);
    way.onBetter("the other one");
    const closing = await closed(link);
    expect(closing.isHeld).toBe(true);
    letGo();
    await pass(1);
    expect(closing.isHeld).toBe(false);
    expect(way.triedMs).toHaveLength(1);
  });

  it("says goodbye by the other when the one in use is no more", async () => {
    const link = await open({ timeoutMs: 8000 });
    let letPass = (): void => undefined;
    way.passable = new Promise((resolve) => (letPass = resolve));
    way.onBetter("the other one");
    await quiet();
    await pass(1);
    expect(link.state).toBe("reconnecting");
    const closing = await closed(link);
    letPass();
    await quiet();
    expect(closing.isHeld).toBe(false);
    expect(link.state).toBe("closed");
  });

  it("or makes a further connection, says goodbye by all of them", async () => {
    let letPass = (): void => undefined;
    const link = await open({ connections: 2 });
    await quiet();
    expect(link.connections).toBe(2);
    await link.close();
    await quiet();
    way.beside = new Promise((resolve) => (letPass = resolve));
    const again = await open({ connections: 2 });
    const closing = await closed(again);
    letPass();
    await quiet();
    expect(closing.isHeld).toBe(false);
  });

  /** Closes a link whose server hears nothing before it is let. */
  async function unheard(): Promise<{ closing: { said: string }; letHear: () => void }> {
    const stream = scene.connect();
    way = new ClosableWay(clock, () => stream);
    const link = await open({ timeoutMs: 8000 });
    let letHear = (): void => undefined;
    const until = new Promise<void>((resolve) => (letHear = resolve));
    const write = stream._write.bind(stream);
    stream._write = (...words) => void until.then(() => write(...words));
    return { closing: await watched(link.close()), letHear };
  }

  it("is over when the server has heard it: nobody else is refused then", async () => {
    const { closing, letHear } = await unheard();
    await pass(2999);
    expect({ ...closing, isHeld: scene.served.lease.isHeld }).toEqual({ said: "nothing", isHeld: true });
    letHear();
    await quiet();
    expect({ ...closing, isHeld: scene.served.lease.isHeld }).toEqual({ said: "done", isHeld: false });
  });

  it("waits three seconds for that, not longer", async () => {
    const { closing } = await unheard();
    await pass(3000);
    expect(closing.said).toBe("done");
  });

  it("does not wait for longer than a request would", async () => {
    const link = await open({ timeoutMs: 8000 });
    way.passable = new Promise(() => undefined);
    way.onBetter("the other one");
    await quiet();
    await pass(1);
    await closed(link);
    await pass(7999);
    expect(link.state).toBe("reconnecting");
    await pass(1);
    expect(link.state).toBe("closed");
  });
});

describe("writes that no flush covers", () => {
  it("are written again for as long as that takes, if the server goes on answering", async () => {
    let busyUntilMs = 0;
    const delayMs = (operation: string): number => {
      if (operation !== "write" || way.triedMs.length === 0) return 0;
      busyUntilMs = Math.max(busyUntilMs, clock.monotonicMs()) + 500;
      return busyUntilMs - clock.monotonicMs();
    };
    // So long 32 MiB take at 8 MB/s.
    const device = new SimulatedDevice("disk", SIZE_BYTES, { clock, delayMs });
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, device });
    const link = await open({ timeoutMs: 6000 });
    way.triedMs.length = 0;
    for (let i = 0; i < 8; i++) await link.requests.write(i * BLOCK.length, BLOCK.length, [BLOCK]);
    await way.cut();
    way.isOpen = true;
    const request = await watched(link.requests.read(0, 4096, [new Uint8Array(4096)]));
    await pass(3999);
    expect(request.said).toBe("nothing");
    await pass(1);
    expect(request.said).toBe("done");
    expect(events.at(-1)).toMatchObject({ kind: "reconnected", keptWrites: 8 });
    expect(way.triedMs).toHaveLength(1);
  });

  it("are written again once, also where a flush takes longer than a new connection may be silent", async () => {
    const device = new SimulatedDevice("disk", SIZE_BYTES, { clock, delayMs: (kind) => (kind === "flush" ? 3000 : 0) });
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, device });
    const link = await open({ timeoutMs: 5000 });
    for (let i = 0; i < 8; i++) await link.requests.write(i * BLOCK.length, BLOCK.length, [BLOCK]);
    await way.cut();
    way.isOpen = true;
    const request = await watched(link.requests.read(0, 4096, [new Uint8Array(4096)]));
    for (let ms = 0; ms < 3000; ms += 100) await pass(100);
    expect(request.said).toBe("done");
    expect({ state: link.state, tries: way.triedMs.length, writes: device.calls.write }).toEqual({
      ...{ state: "connected", tries: 1, writes: 16 },
    });
  });

  it("are tried anew where a flush takes longer than a request may", async () => {
    const device = new SimulatedDevice("disk", SIZE_BYTES, { clock, delayMs: (kind) => (kind === "flush" ? 6000 : 0) });
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, device });
    const link = await open({ timeoutMs: 5000 });
    await link.requests.write(0, BLOCK.length, [BLOCK]);
    await way.cut();
    way.isOpen = true;
    for (let ms = 0; ms < 5100; ms += 100) await pass(100);
    expect(link.counters.lastError).toMatch(/no answer within 5000 ms/);
  });

  it.each(["an older one", "the node's header"])(
    "are not written again when the heartbeat is too old by the time that %s is answered (I11)",
    async (what) => {
      way.isForeign = true;
      const link = await open({ timeoutMs: 60_000 });
      await link.requests.write(0, 4096, [BLOCK]);
      // Not before the one it overlaps.
      await link.requests.write(2048, 4096, [BLOCK]);
      link.tenure.writableUntilMs = clock.monotonicMs() + 1000;
      await way.cut();
      way.isOpen = true;
      const letGo = holdNext(what === "an older one" ? "write" : "read");
      const request = await write(link, 8192);
      await pass(1001);
      const { write: before } = scene.device.calls;
      letGo();
      await pass(100);
      expect(scene.device.calls.write).toBe(before);
      expect(request.said).toMatch(/longer than it was ours/);
      expect(events.at(-1)).toMatchObject({ kind: "gave-up" });
    },
  );

  it("nor is a request without an answer sent again then", async () => {
    way.isForeign = true;
    const link = await open({ timeoutMs: 60_000 });
    link.tenure.writableUntilMs = clock.monotonicMs() + 1000;
    await way.cut();
    way.isOpen = true;
    const letGo = holdNext("read");
    const request = await write(link);
    await pass(1001);
    letGo();
    await pass(100);
    expect(scene.device.calls.write).toBe(0);
    expect(request.said).toMatch(/longer than it was ours/);
  });
});

describe("a request without an answer", () => {
  it("has nbd-timeout, and not a millisecond less", async () => {
    const link = await open({ timeoutMs: 2000 });
    const letGo = holdNext("write");
    const first = await write(link);
    await pass(1999);
    letGo();
    await quiet();
    expect(first.said).toBe("done");
    holdNext("write");
    const second = await write(link);
    await pass(1999);
    expect(second.said).toBe("nothing");
    // It is looked twenty times in that time.
    await pass(2000 / 20);
    expect(second.said).toMatch(/no answer within 2000 ms/);
    expect(events.map(({ kind }) => kind)).toEqual(["connected", "gave-up"]);
  });

  it("has that in all, however many connections it goes over", async () => {
    const link = await open({ timeoutMs: 2000 });
    const letGo = holdNext("write");
    const request = await write(link);
    await pass(700);
    await way.cut();
    // Nobody gets the export before this is over.
    letGo();
    holdNext("write");
    way.isOpen = true;
    await pass(700);
    expect(events.map(({ kind }) => kind)).toEqual(["connected", "lost", "reconnected"]);
    await pass(599);
    expect(request.said).toBe("nothing");
    await pass(1);
    expect(request.said).toMatch(/no answer within 2000 ms/);
  });
});

describe("a node that nobody waited for, away for longer than its lease is kept", () => {
  const AWAY_MS = 3600_000;

  async function away(): Promise<Link> {
    const link = await open({});
    await link.requests.write(0, BLOCK.length, [BLOCK]);
    await link.requests.flush();
    await way.cut();
    await pass(AWAY_MS);
    return link;
  }

  it("is gone on with when nobody else had it meanwhile", async () => {
    const link = await away();
    way.isOpen = true;
    await pass(1000);
    expect(events.map(({ kind }) => kind)).toEqual(["connected", "lost", "reconnected"]);
    const request = await write(link);
    expect(request.said).toBe("done");
  });

  it("is gone on with when its server was started anew and knows whose it was", async () => {
    scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, record });
    const link = await away();
    scene = restarted(scene);
    way.isOpen = true;
    await pass(1000);
    const request = await write(link);
    expect(request.said).toBe("done");
  });

  it("is given up when somebody else wrote there, or the server can't tell: nothing is written (I11)", async () => {
    for (const meanwhile of [
      () => writtenByAnother(scene),
      () => {
        record.forget();
        return Promise.resolve((scene = restarted(scene)));
      },
      async () => {
        scene = restarted(scene);
        await pass(DEFAULT_LIMITS.leaseMs);
        await writtenByAnother(scene);
        scene = restarted(scene);
      },
    ]) {
      record.forget();
      scene = new ServerScene({ clock, limits: DEFAULT_LIMITS, record });
      way = new ClosableWay(clock, () => scene.connect());
      events = [];
      const link = await away();
      await meanwhile();
      way.isOpen = true;
      const writes = scene.device.calls.write;
      await pass(1000);
      expect(events.at(-1)).toMatchObject({
        kind: "gave-up",
        reason: expect.stringMatching(/somebody else's/) as string,
      });
      const request = await write(link);
      expect(request.said).toMatch(/somebody else's/);
      expect(scene.device.calls.write).toBe(writes);
    }
  });
});

describe("a node that was away for a moment only", () => {
  it("is given up all the same when somebody else had it in that moment (I11)", async () => {
    // Whoever has it is to be gone after 5 seconds.
    scene = new ServerScene({ clock, limits: { ...DEFAULT_LIMITS, leaseMs: 5000 }, record });
    const link = await open({ timeoutMs: 60_000 });
    await link.requests.write(0, BLOCK.length, [BLOCK]);
    await way.cut();
    const request = await write(link);
    await pass(6000);
    await writtenByAnother(scene);
    const writes = scene.device.calls.write;
    way.isOpen = true;
    await pass(1000);
    expect(request.said).toMatch(/somebody else's/);
    expect(scene.device.calls.write).toBe(writes);
  });
});

/** Opens the export, writes, and leaves in order. */
async function writtenByAnother(at: ServerScene): Promise<void> {
  const other = await at.opened(["h2ts:owner=fedcba9876543210/0"]);
  expect((await other.write(100_000, Buffer.from("other"))).error).toBe(0);
  other.leave();
  await at.connections.at(-1)?.ended;
}

/** Another server of the same device. */
const restarted = (before: ServerScene): ServerScene =>
  new ServerScene({ clock, limits: DEFAULT_LIMITS, record, device: before.device, seed: 2 });
