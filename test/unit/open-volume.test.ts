// A worker that takes over opens what it needs, whatever became of the other targets meanwhile: none of them takes the mount down
// as long as the volume is sure to be whole without it (I4, I11).

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SystemClock } from "../../src/base/clock.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { formatUuid, randomUuid, type Uuid } from "../../src/base/uuid.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import { openTargets } from "../../src/copies/targets.ts";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";
import { openForMount } from "../../src/daemon/open-volume.ts";
import { DeviceError } from "../../src/device/device.ts";
import { openNode } from "../../src/device/open.ts";
import { OpenError } from "../../src/device/open-error.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { CheckType } from "../../src/format/check.ts";
import { KIB, NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { ROOT_SUPER_OFFSET } from "../../src/format/root-block.ts";
import { Journal, JOURNAL_BYTES } from "../../src/log/journal.ts";
import { inodesRoot } from "../../src/ops/inodes.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { treeFind } from "../../src/tree/tree.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import type { Volume } from "../../src/volume/volume.ts";

const MIB = 1024 * 1024;
const DEADLINE_MS = 300;
const BLOCK_BYTES = 16 * KIB;
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Devices that do not answer when they are opened, by the end of their names, until this resolves. */
const silent = vi.hoisted(() => new Map<string, Promise<void>>());
/** Exports by their targets: the file that one is, or why it is refused. */
const exports = vi.hoisted(() => new Map<string, () => string>());
vi.mock("../../src/nbd/open.ts", async (importOriginal) => {
  const original = await importOriginal<typeof import("../../src/nbd/open.ts")>();
  return {
    ...original,
    deviceOpener: (...given: Parameters<typeof original.deviceOpener>) => {
      const open = original.deviceOpener(...given);
      return async (...[name, options]: Parameters<typeof open>) => {
        const server = exports.get(name);
        if (server !== undefined) return open(server(), options);
        await silent.get(name.slice(name.lastIndexOf("/") + 1));
        return open(name, options);
      };
    },
  };
});

let folder: string;
beforeEach(() => {
  silent.clear();
  exports.clear();
  folder = mkdtempSync(join(tmpdir(), "h2ts-open-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const path = (name: string): string => join(folder, name);

/** A new volume in image files. */
async function format(seed: number, ...names: string[]): Promise<Uuid> {
  for (const name of names) {
    writeFileSync(path(name), "");
    truncateSync(path(name), 20 * MIB);
  }
  const random = new SeededRandom(seed);
  const identity = { volumeUuid: randomUuid(random), label: "demo", random };
  const opened = await openTargets(names.map(path), { writable: true });
  const copies = await formatCopies(
    opened.map((target) => ({ ...target, copies: 1 })),
    identity,
  );
  const clock = new SystemClock();
  await formatVolume(copies, { ...identity, clock, checkType: CheckType.XXH64, uid: 0, gid: 0, commitMs: 0 });
  await copies.close();
  return identity.volumeUuid;
}

/** A mount whose workers follow one another. */
class Mount {
  readonly #journal = new Uint8Array(JOURNAL_BYTES);
  readonly #words: string[];
  #volume: Volume | undefined;
  #uuid: Uuid | undefined;

  constructor(...words: string[]) {
    this.#words = words;
  }

  async worker(...names: string[]): Promise<Volume> {
    await this.leave();
    const options = parseMountOptions([`deadline=${DEADLINE_MS}`, ...this.#words]);
    const request = { source: "demo", targets: names.map(path), directory: "/none", options };
    const takeOver = this.#uuid !== undefined;
    this.#volume = await openForMount(request, { journal: this.#journal, takeOver, volumeUuid: this.#uuid });
    this.#uuid = this.#volume.uuid;
    return this.#volume;
  }

  /** As one that is killed: nothing is committed. */
  async die(): Promise<void> {
    await this.#volume?.copies.close();
    this.#volume = undefined;
  }

  /** The journal is of a form that another version has. */
  spoilJournal(): void {
    new Float64Array(this.#journal.buffer)[0] = 1;
  }

  /** What was recorded goes on with what no record begins with. */
  spoilRecords(): void {
    new Journal(this.#journal).append([new Uint8Array(64)]);
  }

  /** The worker before saw these copies fail, and did not get to drop them. */
  noteFailed(mask: number): void {
    new Journal(this.#journal).failedCopies = mask;
  }

  /** As a worker does that another one is to follow. */
  async leave(): Promise<void> {
    await this.#volume?.close();
    await this.#volume?.copies.close();
    this.#volume = undefined;
  }
}

describe("a worker that takes over", () => {
  const cases: [string, () => Promise<(() => Promise<void>) | undefined>, RegExp][] = [
    [
      "in use by somebody else",
      async () => {
        const node = await openNode(path("b.img"), { writable: true });
        return () => node.close();
      },
      /b\.img: already in use/,
    ],
    [
      "of another volume",
      async () => {
        await format(2, "b.img");
        return undefined;
      },
      /b\.img: belongs to volume /,
    ],
    [
      "no volume at all",
      () => {
        writeFileSync(path("b.img"), Buffer.alloc(MIB, 7));
        return Promise.resolve(undefined);
      },
      /b\.img: is not an h2ts volume/,
    ],
    [
      "a folder by now",
      () => {
        rmSync(path("b.img"));
        mkdirSync(path("b.img"));
        return Promise.resolve(undefined);
      },
      /b\.img: is a directory/,
    ],
    [
      "another name of the other one by now",
      () => {
        rmSync(path("b.img"));
        symlinkSync(path("a.img"), path("b.img"));
        return Promise.resolve(undefined);
      },
      /a\.img: is given twice \(it is the same as/,
    ],
  ];
  for (const [what, change, line] of cases) {
    it(`goes on without a target that is ${what}`, async () => {
      await format(1, "a.img", "b.img");
      const mount = new Mount();
      expect((await mount.worker("a.img", "b.img")).copies.mask).toBe(0b11);
      await mount.leave();
      const undo = await change();
      try {
        // Whatever is given first.
        const next = await mount.worker("b.img", "a.img");
        expect(next.copies.mask).toBe(0b01);
        expect(next.copies.absent).toEqual([expect.stringMatching(line)]);
        await next.forceCommit();
        await mount.leave();
      } finally {
        await undo?.();
      }
    });
  }

  it("goes on without a target that is gone and can't be told from a row", async () => {
    mkdirSync(path("c++"));
    await format(1, "a.img", "c++/b.img");
    const mount = new Mount();
    await mount.worker("a.img", "c++/b.img");
    await mount.leave();
    rmSync(path("c++"), { recursive: true });
    expect((await mount.worker("c++/b.img", "a.img")).copies.mask).toBe(0b01);
    await mount.leave();
  });

  it.each([
    ["alone", undefined],
    ["beside a copy that is missing", () => renameSync(path("b.img"), path("away.img"))],
    ["beside a copy that was left behind", () => undefined],
  ])(
    "waits for a device that does not answer for long, %s: nothing else has what was answered (I4)",
    async (_, change) => {
      const names = change === undefined ? ["a.img"] : ["a.img", "b.img"];
      await format(1, ...names);
      const mount = new Mount();
      const before = await mount.worker(...names);
      if (change !== undefined) await before.changeMembers(() => before.members.takeOut(1, false));
      await before.forceCommit();
      await before.forceCommit();
      await mount.leave();
      change?.();
      let answer = (): void => undefined;
      silent.set("a.img", new Promise((resolve) => (answer = resolve)));
      const next = mount.worker(...names);
      next.catch(() => undefined);
      const isOver = next.then(
        () => "open",
        (error: unknown) => String(error),
      );
      expect(await Promise.race([isOver, sleep(4 * DEADLINE_MS, "waits")])).toBe("waits");
      answer();
      expect((await next).members.inSync).toBe(0b01);
      await mount.leave();
    },
  );

  /** These do not answer for that long. */
  function silence(ms: number, ...names: string[]): void {
    for (const name of names) silent.set(name, sleep(ms));
  }

  /** Makes a file with this name, and has it in the journal only. */
  async function create(volume: Volume, name: string): Promise<void> {
    await new FileSystem(volume, new SystemClock()).makeNode(ROOT, bytesOf(name), 0o100644, 0, 0, CALLER);
  }

  const find = async (volume: Volume, name: string): Promise<boolean> =>
    (await new FileSystem(volume, new SystemClock()).lookup(ROOT, bytesOf(name))) !== undefined;

  it("waits for devices that do not answer for long, where too few copies do: what was answered is committed (I2, I4)", async () => {
    await format(1, "a.img", "b.img", "c.img");
    const mount = new Mount("commit=300");
    const volume = await mount.worker("a.img", "b.img", "c.img");
    await create(volume, "answered");
    await mount.die();
    silence(4 * DEADLINE_MS, "b.img", "c.img");
    const next = await mount.worker("a.img", "b.img", "c.img");
    expect(next.readOnly).toBeUndefined();
    expect(await find(next, "answered")).toBe(true);
    await next.forceCommit();
    await mount.leave();
    expect(await find(await new Mount().worker("a.img", "c.img"), "answered")).toBe(true);
  });

  /**
   * Files of one block each, which lies on one copy, some on each of them. Ten bytes of each are changed then: whoever carries
   * that out again needs the rest of the block. `before` is done when the files are committed.
   */
  async function changeNarrow(volume: Volume, before: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    const fs = new FileSystem(volume, new SystemClock());
    await fs.setXattr(ROOT, "user.h2ts.copies", bytesOf("1"), 0, CALLER, false);
    const write = { op: "write", append: false, killPrivileges: false } as const;
    const inos: number[] = [];
    for (let i = 0; i < 6; i++) {
      const { ino } = await fs.makeNode(ROOT, bytesOf(`narrow${i}`), 0o100644, 0, 0, CALLER);
      await volume.apply({ ...write, ino, offset: 0, data: new Uint8Array(BLOCK_BYTES).fill(7) });
      inos.push(ino);
    }
    await volume.forceCommit();
    await before();
    for (const ino of inos) await volume.apply({ ...write, ino, offset: 100, data: new Uint8Array(10).fill(9) });
  }

  async function expectChanged(volume: Volume): Promise<void> {
    const fs = new FileSystem(volume, new SystemClock());
    const expected = new Uint8Array(BLOCK_BYTES).fill(7).fill(9, 100, 110);
    for (let i = 0; i < 6; i++) {
      const { ino } = (await fs.lookup(ROOT, bytesOf(`narrow${i}`)))!;
      const { pieces } = await fs.read(ino, 0, BLOCK_BYTES);
      expect(Buffer.concat(pieces).equals(expected), `narrow${i}`).toBe(true);
    }
  }

  it.each([
    ["one of two copies", ["a.img", "b.img"]],
    ["one of three copies, with too few at hand", ["a.img", "b.img", "c.img"]],
  ])("waits for a block that only a copy has that does not answer: %s (I4)", async (_, names) => {
    await format(1, ...names);
    const mount = new Mount("commit=300");
    await changeNarrow(await mount.worker(...names));
    await mount.die();
    silence(4 * DEADLINE_MS, ...names.slice(1));
    const next = await mount.worker(...names);
    expect(next.readOnly).toBeUndefined();
    expect(next.copies.mask).toBe(2 ** names.length - 1);
    await expectChanged(next);
    await mount.leave();
  });

  it("waits for a block that only a copy has that was dropped, and does not answer (I4)", async () => {
    await format(1, "a.img", "b.img");
    const mount = new Mount("commit=300");
    const volume = await mount.worker("a.img", "b.img");
    await changeNarrow(volume, async () => {
      const copy = volume.copies.copy(1)!;
      volume.copies.giveUp(copy, new DeviceError(copy.name, "write", 0, "EIO"));
      await volume.forceCommit();
      expect(copy.standing).toBe("faulted");
    });
    await mount.die();
    silence(4 * DEADLINE_MS, "b.img");
    await expectChanged(await mount.worker("a.img", "b.img"));
    await mount.leave();
  });

  it("waits for a block of the tree that is damaged on the copy at hand, and not on one that does not answer (I4)", async () => {
    await format(1, "a.img", "b.img");
    const mount = new Mount("commit=300");
    const volume = await mount.worker("a.img", "b.img");
    const at = NODE_HEADER_AREA_BYTES + refPointer(volume.rootImage.view, ROOT_SUPER_OFFSET, 0) * KIB;
    await create(volume, "answered");
    await mount.die();
    const image = await open(path("a.img"), "r+");
    await image.write(new Uint8Array(16).fill(0xff), 0, 16, at);
    await image.close();
    silence(4 * DEADLINE_MS, "b.img");
    const next = await mount.worker("a.img", "b.img");
    expect(next.members.inSync).toBe(0b11);
    expect(await find(next, "answered")).toBe(true);
    await mount.leave();
  });

  it("waits for nobody where what it was handed makes no sense: no device that answers changes that (I12)", async () => {
    await format(1, "a.img", "b.img");
    const mount = new Mount("commit=300");
    await create(await mount.worker("a.img", "b.img"), "answered");
    await mount.die();
    mount.spoilRecords();
    silence(20 * DEADLINE_MS, "b.img");
    const next = mount.worker("a.img", "b.img").then(
      () => "open",
      (error: unknown) => String(error),
    );
    expect(await Promise.race([next, sleep(8 * DEADLINE_MS, "waits")])).toMatch(/makes no sense/);
  });

  it("waits for a copy that does not answer when the others in sync failed (I2, I4)", async () => {
    await format(1, "a.img", "b.img");
    const mount = new Mount("commit=300");
    await create(await mount.worker("a.img", "b.img"), "answered");
    await mount.die();
    mount.noteFailed(0b01);
    silence(4 * DEADLINE_MS, "b.img");
    const next = await mount.worker("a.img", "b.img");
    expect(next.members.inSync).toBe(0b10);
    expect(await find(next, "answered")).toBe(true);
    await mount.leave();
  });

  it("waits for the copy that it had, while others that went their own ways fit neither it nor each other (I6)", async () => {
    const names = ["a.img", "b.img", "c.img"];
    await format(1, ...names);
    const mount = new Mount("commit=300");
    const before = await mount.worker(...names);
    await before.changeMembers(() => {
      for (const index of [1, 2]) before.members.takeOut(index, false);
      before.members.acceptFewer();
    });
    await before.forceCommit();
    await create(before, "answered");
    await mount.die();
    for (const name of names.slice(1)) {
      const elsewhere = new Mount("degraded");
      await (await elsewhere.worker(name)).forceCommit();
      await elsewhere.leave();
    }
    silence(4 * DEADLINE_MS, "a.img");
    const next = await mount.worker(...names);
    expect(next.copies.copies.map(({ standing }) => standing)).toEqual(["in-sync", "divergent", "divergent"]);
    expect(await find(next, "answered")).toBe(true);
    await mount.leave();
  });

  it.each([
    ["can't go on from the journal of another version", (mount: Mount) => mount.spoilJournal(), /is no journal/],
    [
      "finds that the only copy in sync failed",
      (mount: Mount) => mount.noteFailed(0b01),
      /every copy in sync failed a write or flush/,
    ],
  ])("does not wait for a copy that was taken out, when it %s", async (_, spoil, why) => {
    await format(1, "a.img", "b.img");
    const mount = new Mount("commit=300");
    const volume = await mount.worker("a.img", "b.img");
    await volume.changeMembers(() => volume.members.takeOut(1, false));
    await mount.die();
    spoil(mount);
    silence(20 * DEADLINE_MS, "b.img");
    const next = mount.worker("a.img", "b.img").then(
      () => "open",
      (error: unknown) => String(error),
    );
    expect(await Promise.race([next, sleep(8 * DEADLINE_MS, "waits")])).toMatch(why);
  });

  it("is refused where nothing of the volume is left, with a line that says why", async () => {
    await format(1, "a.img");
    const mount = new Mount();
    await mount.worker("a.img");
    await mount.leave();
    await format(2, "a.img");
    await expect(mount.worker("a.img")).rejects.toThrow(/a\.img: belongs to volume .* but the mounted one is /);
  });

  it("goes on when the copy is gone that -o master= names", async () => {
    await format(1, "a.img", "b.img");
    const look = new Mount();
    const { copies } = await look.worker("a.img", "b.img");
    const name = formatUuid(copies.copy(1)!.uuid);
    await look.leave();
    const mount = new Mount(`master=${name}`);
    expect((await mount.worker("a.img", "b.img")).copies.master).toBe(1);
    await mount.leave();
    renameSync(path("b.img"), path("away.img"));
    expect((await mount.worker("a.img", "b.img")).copies.master).toBe(0);
    await mount.leave();
  });
});

it("a mount, other than a worker that takes over, refuses a target that does not fit", async () => {
  await format(1, "a.img", "b.img");
  await format(2, "c.img");
  await expect(new Mount().worker("a.img", "b.img", "c.img")).rejects.toThrow(/c\.img: belongs to volume /);
});

describe("a mount", () => {
  it("waits for an export that its server keeps for a mount that broke off, as long as one of ours does", async () => {
    await format(1, "a.img");
    let nowMs = performance.now();
    const clock = vi.spyOn(performance, "now").mockImplementation(() => nowMs);
    const target = "nbd://far/x";
    const keptFor = (ms: number): void => {
      const untilMs = nowMs + ms;
      exports.set(target, () => {
        if (nowMs >= untilMs) return path("a.img");
        nowMs += 2000;
        throw new OpenError(target, "lock", "EBUSY", "is kept");
      });
    };
    const request = { source: "demo", targets: [target], directory: "/none", options: parseMountOptions([]) };
    const open = (): Promise<Volume> =>
      openForMount(request, { journal: new Uint8Array(JOURNAL_BYTES), takeOver: false, volumeUuid: undefined });
    try {
      keptFor(20_000);
      const volume = await open();
      await volume.close();
      await volume.copies.close();
      keptFor(Infinity);
      await expect(open()).rejects.toThrow("is kept");
    } finally {
      clock.mockRestore();
    }
  });
});

it("operations of the log that a mount shows the volume without are told (I4): nobody may take it for whole", async () => {
  await format(91, "a.img");
  const mount = new Mount();
  const volume = await mount.worker("a.img");
  const fs = new FileSystem(volume, volume.copies.clock);
  const { ino } = await fs.makeNode(ROOT, bytesOf("old"), 0o100644, 0, 0, CALLER);
  await volume.forceCommit();
  const kib = await volume.view((state) => {
    const { block, at } = treeFind(state.store, inodesRoot(state.pfs()), ino)!;
    return refPointer(block.view, at, 0);
  });
  await fs.setAttributes(ino, { mode: 0o600 });
  await fs.sync();
  await mount.die();
  const image = await open(path("a.img"), "r+");
  await image.write(new Uint8Array(1024).fill(0xa5), 0, 1024, NODE_HEADER_AREA_BYTES + kib * KIB);
  await image.close();
  const lines: string[] = [];
  const options = parseMountOptions(["ro", "degraded"]);
  const reader = await openForMount(
    { source: "demo", targets: [path("a.img")], directory: "/none", options },
    { journal: new Uint8Array(JOURNAL_BYTES), takeOver: false, onLogDropped: (line) => lines.push(line) },
  );
  await reader.close();
  await reader.copies.close();
  expect(lines).toEqual([
    expect.stringMatching(/^1 of 1 completed operations in the log were given up: block of .*unreadable/),
  ]);
});
