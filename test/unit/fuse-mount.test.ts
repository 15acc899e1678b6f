// What surrounds a mount: the mount table, option words, learning whether to stay awake.

import { describe, expect, it } from "vitest";
import { decodeDevice, deviceName, encodeDevice } from "../../src/base/device-number.ts";
import {
  fusermountWords,
  isGenericMountOption,
  mountFlags,
  wordsOfMount,
} from "../../src/fuse/kernel/mount-options.ts";
import { parseMountInfo } from "../../src/base/mounted-filesystems.ts";
import { mountSource } from "../../src/fuse/mount-source.ts";
import { Wakefulness } from "../../src/fuse/kernel/wakefulness.ts";

describe("mount table", () => {
  it("is read with its escapes and optional fields", () => {
    const text = [
      "22 28 0:20 / /proc rw,nosuid shared:12 - proc proc rw",
      "42 27 0:39 / /mnt/a\\040b\\134c ro,noatime - fuse.h2ts a.img,b\\040.img rw,user_id=1000,group_id=0",
      "not a line",
      "",
    ].join("\n");
    expect(parseMountInfo(text)).toEqual([
      {
        id: 22,
        parentId: 28,
        device: "0:20",
        root: "/",
        directory: "/proc",
        options: ["rw", "nosuid"],
        propagation: ["shared:12"],
        type: "proc",
        source: "proc",
        ownOptions: ["rw"],
      },
      {
        id: 42,
        parentId: 27,
        device: "0:39",
        root: "/",
        directory: "/mnt/a b\\c",
        options: ["ro", "noatime"],
        propagation: [],
        type: "fuse.h2ts",
        source: "a.img,b .img",
        ownOptions: ["rw", "user_id=1000", "group_id=0"],
        userId: 1000,
      },
    ]);
  });
});

describe("the source of a mount", () => {
  it("is what was given as long as there is room, and never the same for others that begin alike", () => {
    expect(mountSource("/a.img,/b.img", 13)).toBe("/a.img,/b.img");
    const row = (last: string) => `/über/${"é".repeat(50)}+${last}`;
    for (let bytesMax = 30; bytesMax < 60; bytesMax++) {
      const [one, other] = [mountSource(row("a.img"), bytesMax), mountSource(row("b.img"), bytesMax)];
      expect(one).toMatch(/^\/über\/é*…[0-9a-f]{16}$/);
      expect(bytesMax - Buffer.byteLength(one)).toBeLessThan(2);
      expect(Buffer.byteLength(one)).toBeLessThanOrEqual(bytesMax);
      expect(one).not.toBe(other);
    }
  });
});

describe("mount options", () => {
  it("are nosuid and nodev unless told otherwise; the later word wins", () => {
    expect(mountFlags([])).toBe(2 | 4);
    expect(mountFlags(["suid", "dev"])).toBe(0);
    expect(mountFlags(["ro", "rw", "ro"])).toBe(1 | 2 | 4);
    expect(mountFlags(["suid", "dev", "noatime", "relatime"])).toBe(1 << 21);
  });

  it("of a mount as it is are those that give its flags again, and a word behind them changes one", () => {
    for (const words of [[], ["noexec", "ro"], ["suid", "strictatime"], ["dev", "noatime", "nodiratime"], ["sync"]]) {
      const given = new Set(["rw", "nosuid", "nodev", "relatime", ...words]);
      for (const [word, without] of [
        ["suid", "nosuid"],
        ["dev", "nodev"],
        ["ro", "rw"],
        ["noatime", "relatime"],
        ["strictatime", "relatime"],
      ] as const)
        if (given.has(word)) given.delete(without);
      // The kernel shows no word for what is not the default of mount(2), and that of the filesystem apart from the others.
      const shown = [...given].filter((word) => !["suid", "dev", "strictatime", "sync"].includes(word));
      const ownOptions = ["rw", "user_id=0", ...(given.has("sync") ? ["sync"] : [])];
      expect(mountFlags(wordsOfMount({ options: shown, ownOptions })), words.join()).toBe(mountFlags([...given]));
    }
    const now = wordsOfMount({ options: ["ro", "nosuid", "nodev", "noexec", "relatime"], ownOptions: ["ro"] });
    expect(mountFlags([...now, "noatime"])).toBe(1 | 2 | 4 | 8 | 1024);
  });

  it("are refused by name", () => {
    expect(() => mountFlags(["bogus"])).toThrow("unknown mount option: bogus");
    expect(isGenericMountOption("noexec")).toBe(true);
    expect(isGenericMountOption("cache=1G")).toBe(false);
  });

  it("of an ordinary user are those that fusermount3 knows; what only root may have is refused", () => {
    expect(fusermountWords(["rw", "relatime", "diratime", "exec", "nosuid", "norelatime", "symfollow"])).toEqual([]);
    expect(fusermountWords(["ro", "noexec", "noatime", "nodiratime", "sync", "dirsync"])).toEqual(
      expect.arrayContaining(["ro", "noexec", "noatime", "sync", "dirsync"]),
    );
    expect(fusermountWords(["noatime", "strictatime", "relatime"])).toEqual([]);
    expect(() => fusermountWords(["suid", "strictatime"])).toThrow("only root may mount with suid, strictatime");
    expect(() => fusermountWords(["nodiratime"])).toThrow("only root may mount with nodiratime");
    expect(() => fusermountWords(["bogus"])).toThrow("unknown mount option: bogus");
  });
});

describe("device numbers", () => {
  it("survive packing", () => {
    for (const [major, minor] of [
      [0, 0],
      [8, 1],
      [259, 70_000],
      [4095, 0xfffff],
    ] as const) {
      expect(decodeDevice(encodeDevice(major, minor))).toEqual({ major, minor });
    }
    expect(encodeDevice(8, 1)).toBe(0x801);
  });

  it("are named as the kernel does, minors above 255 and all", () => {
    // As stat gives them: /dev/sdb, loop300, a partition of an NVMe disk, the largest there can be.
    expect([0x810, 0x10072c, 0x110342, 0xffffffff].map(deviceName)).toEqual([
      "8:16",
      "7:300",
      "259:322",
      "4095:1048575",
    ]);
  });
});

describe("wakefulness", () => {
  /** Serves requests one by one; each costs what the way chosen costs. Returns the mean of the last ones. */
  function play(costMs: { awake: number; asleep: number }, requests: number, wakefulness = new Wakefulness()): number {
    let now = 0;
    let total = 0;
    for (let index = 0; index < requests; index++) {
      const cost = wakefulness.limitMs > 0 ? costMs.awake : costMs.asleep;
      now += cost;
      wakefulness.served(1, now, cost);
      if (index >= requests / 2) total += cost;
    }
    return total / (requests / 2);
  }

  it("stays awake where waking up is slow", () => {
    expect(play({ awake: 0.015, asleep: 0.06 }, 20_000)).toBeLessThan(0.018);
  });

  it("sleeps where handing over is faster", () => {
    expect(play({ awake: 0.008, asleep: 0.004 }, 20_000)).toBeLessThan(0.0045);
  });

  it("changes its mind", () => {
    const wakefulness = new Wakefulness();
    play({ awake: 0.015, asleep: 0.06 }, 20_000, wakefulness);
    expect(play({ awake: 0.015, asleep: 0.004 }, 20_000, wakefulness)).toBeLessThan(0.005);
  });

  it("does not stay awake for requests that come seldom", () => {
    const wakefulness = new Wakefulness();
    for (let index = 1; index <= 20; index++) wakefulness.served(1, index * 10, 10);
    expect(wakefulness.limitMs).toBeLessThan(0.001);
  });
});
