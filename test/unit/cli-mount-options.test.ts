// The -o options: what is accepted, what is dropped, how a mistake is named, and what people are told of them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UsageError } from "../../src/base/usage-error.ts";
import { MOUNT_OPTIONS } from "../../src/daemon/mount-options.ts";
import { mountOptionsHelp, mountOptionsTable } from "../../src/daemon/mount-options-text.ts";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";

describe("mount options", () => {
  it("have safe defaults", () => {
    expect(parseMountOptions([])).toEqual({
      cacheBytes: 256 * 1024 * 1024,
      commitSeconds: 5,
      deadlineMs: 5000,
      remoteRetries: 100,
      remoteConnections: 1,
      degraded: false,
      resyncBytesPerSecond: 0,
      readOnly: false,
      warmUp: true,
      remount: false,
      transport: "kernel",
      vfsWords: [],
    });
  });

  it("of a socket that Node would make elsewhere are refused", () => {
    const path = `/${"s".repeat(106)}`;
    expect(parseMountOptions([`metrics=${path}`])).toMatchObject({ metrics: path });
    expect(() => parseMountOptions([`metrics=${path}s`])).toThrow(/takes the path of a socket, which may be 107 bytes/);
  });

  it("are read from several lists, the last word winning", () => {
    const options = parseMountOptions([
      "cache=1G,ro,suid",
      "rw,commit=30,noatime,transport=fuse-native",
      "log=/tmp/x.log,relatime",
      "degraded,deadline=250,master=1,resync-rate=20M,nbd-connections=4",
    ]);
    expect(options).toMatchObject({
      cacheBytes: 2 ** 30,
      readOnly: false,
      warmUp: true,
      commitSeconds: 30,
      transport: "fuse-native",
      logPath: "/tmp/x.log",
      degraded: true,
      deadlineMs: 250,
      master: "1",
      resyncBytesPerSecond: 20 * 2 ** 20,
      remoteConnections: 4,
    });
    expect(options.vfsWords).toEqual(["suid", "noatime", "relatime"]);
  });

  it("drop what says nothing to a filesystem", () => {
    const plain = parseMountOptions([]);
    expect(
      parseMountOptions([
        "defaults,noauto,nofail,user,users,_netdev,x-systemd.automount,x-gvfs-show,,default_permissions",
      ]),
    ).toEqual(plain);
  });

  it.each([
    ["bogus", "unknown mount option 'bogus'"],
    ["bogus=1", "unknown mount option 'bogus=1'"],
    ["ro=1", "unknown mount option 'ro=1'"],
    ["cache", "mount option 'cache' needs a value"],
    ["cache=1M", "mount option 'cache=1M': cache takes a size of at least 32M"],
    ["cache=lots", "cache takes a size"],
    ["commit=0", "mount option 'commit=0': commit takes seconds from 1 to 300"],
    ["commit=abc", "mount option 'commit=abc': commit takes seconds from 1 to 300"],
    ["deadline=1", "mount option 'deadline=1': deadline takes whole milliseconds from 100 to 600000"],
    ["deadline=abc", "deadline takes whole milliseconds from 100 to 600000"],
    ["deadline=100.5", "deadline takes whole milliseconds from 100 to 600000"],
    ["nbd-timeout=1s", "nbd-timeout takes whole milliseconds from 100 to 86400000"],
    ["nbd-retry=often", "nbd-retry takes a whole number from 0 to 1000000"],
    ["nbd-connections=all", "nbd-connections takes a whole number from 1 to 16"],
    ["nbd-connections=0", "nbd-connections takes a whole number from 1 to 16"],
    ["nbd-connections=17", "nbd-connections takes a whole number from 1 to 16"],
    ["master=best", "master takes newest, first, or a copy by index or UUID"],
    ["resync-rate=fast", "resync-rate takes bytes a second"],
    ["degraded=1", "unknown mount option 'degraded=1'"],
    ["transport=smoke", "transport takes one of kernel, fuse-native"],
    ["log=here", "log takes an absolute path"],
  ])("name a mistake: %s", (text, message) => {
    expect(() => parseMountOptions([text])).toThrow(UsageError);
    expect(() => parseMountOptions([text])).toThrow(message);
  });

  it("pass over unknown words when sloppy", () => {
    expect(parseMountOptions(["bogus"], true)).toEqual(parseMountOptions([]));
  });

  it("have the defaults that people are told of", () => {
    const plain: Readonly<Record<string, unknown>> = parseMountOptions([]);
    const told = MOUNT_OPTIONS.filter(
      ({ field, unlessGiven }) => unlessGiven !== undefined && plain[field] !== undefined,
    );
    expect(told.length).toBeGreaterThan(8);
    for (const { word, value, unlessGiven } of told) {
      const item = value === undefined ? `${unlessGiven}` : `${word}=${unlessGiven}`;
      expect(parseMountOptions([item]), item).toEqual(plain);
    }
  });

  it("are all in the help, each in a line of its own that a screen has room for", () => {
    const lines = mountOptionsHelp().split("\n");
    for (const { word } of MOUNT_OPTIONS)
      expect(lines.filter((line) => new RegExp(`^ +${word}\\b(?!-)`).test(line))).toHaveLength(1);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(120);
  });

  it("are in docs/operation.md as they are", () => {
    const text = readFileSync(join(import.meta.dirname, "../../docs/operation.md"), "utf8");
    expect(text).toContain(mountOptionsTable());
  });
});
