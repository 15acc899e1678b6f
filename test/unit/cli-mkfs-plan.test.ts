// What mkfs looks at before it touches anything: options, signatures, sizes, twins. Nothing here may write.

import { spawnSync } from "node:child_process";
import {
  closeSync,
  linkSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseOptions } from "../../mkfs/options.ts";
import { planTargets, RefusedError } from "../../mkfs/plan.ts";
import { UsageError } from "../../src/base/usage-error.ts";
import { deviceSignature } from "../../src/device/signatures.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";

const M = 2 ** 20;
let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-mkfs-")));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);

async function plan(...words: string[]): ReturnType<typeof planTargets> {
  const options = parseOptions(words, "0");
  if (!options) throw new Error("only help was asked for");
  return planTargets(options);
}

function image(name: string, sizeBytes: number, ...pieces: [offset: number, bytes: string][]): string {
  const bytes = Buffer.alloc(Math.min(sizeBytes, 512 * 1024));
  for (const [offset, text] of pieces) bytes.write(text, offset, "latin1");
  writeFileSync(at(name), bytes);
  truncateSync(at(name), sizeBytes);
  return at(name);
}

/** A sparse file with these bytes in it. */
function sparse(name: string, sizeBytes: number, ...pieces: [offset: number, bytes: string][]): string {
  const fd = openSync(at(name), "w");
  for (const [offset, bytes] of pieces) writeSync(fd, bytes, offset, "latin1");
  closeSync(fd);
  truncateSync(at(name), sizeBytes);
  return at(name);
}

describe("options", () => {
  it("have defaults", () => {
    expect(parseOptions(["a"], "0")).toMatchObject({
      label: "",
      checkName: "xxh64",
      force: false,
      quiet: false,
      dryRun: false,
      targets: ["a"],
    });
  });

  it.each([
    [[], /missing required argument/],
    [["-s", "lots", "a"], /^-s: not a size/],
    [["-s", "0", "a"], /^-s: not a size/],
    [["-n", "0", "a"], /^-n: takes a number from 1 to 8/],
    [["-n", "9", "a"], /^-n: takes a number from 1 to 8/],
    [["-n", "3", "a", "b"], /-n 3 goes with one TARGET/],
    [["-U", "123", "a"], /^-U: not a UUID/],
    // No header may hold it: mkfs -f would have made nothing of what was there.
    [["-U", "00000000-0000-0000-0000-000000000000", "a"], /^-U: the UUID of a volume is not zero/],
    [["-L", "x".repeat(64), "a"], /^-L: a label has at most 63 bytes/],
    [["-L", "a\nb", "a"], /^-L: a label has no control/],
    [["--check", "md5", "a"], /^--check: takes one of xxh64, crc32, sha256/],
    [["--frobnicate", "a"], /unknown option '--frobnicate'/],
    [["a", "b", "c", "d", "e", "f", "g", "h", "i"], /at most 8 copies/],
  ])("refuse %j", (words, message) => {
    expect(() => parseOptions(words, "0")).toThrow(UsageError);
    expect(() => parseOptions(words, "0")).toThrow(message);
  });
});

describe("targets", () => {
  it("are planned: new, existing, rows, several copies on one", async () => {
    image("old", 32 * M);
    expect(await plan("-s", "20M", at("new"), at("old"))).toEqual([
      {
        target: at("new"),
        copies: 1,
        nodes: [{ path: at("new"), sizeBytes: 20 * M, kind: "new file", resize: false, overwrites: undefined }],
      },
      {
        target: at("old"),
        copies: 1,
        nodes: [{ path: at("old"), sizeBytes: 20 * M, kind: "file", resize: true, overwrites: undefined }],
      },
    ]);
    expect((await plan("-s", "20M", `${at("p")}+${at("q")}`))[0]?.nodes.map((node) => node.path)).toEqual([
      at("p"),
      at("q"),
    ]);
    expect((await plan("-n", "3", "-s", "64M", at("three")))[0]?.copies).toBe(3);
  });

  it("are refused when something is wrong with them", async () => {
    const a = image("a", 64 * M);
    symlinkSync(a, at("alias"));
    linkSync(a, at("hard"));
    const cases: [string[], RegExp][] = [
      [[at("none")], /none: does not exist; give -s SIZE/],
      [["-s", "64M", at("no/where")], /its folder does not exist/],
      [[folder], /is a folder/],
      [["/dev/null"], /neither a file nor a block device/],
      [[image("small", 8 * M)], /too small for a copy; it takes at least 17M/],
      [["-n", "4", a], /too small for 4 copies/],
      [[image("empty", 0)], /is empty; give -s/],
      [[a, a], /given twice/],
      [[a, at("alias")], /given twice/],
      [[a, at("hard")], /given twice/],
      [["-s", "64M", at("x"), at("x")], /given twice/],
      [[`${a}+`], /has no name/],
      [["-n", "2", "-s", "64M", `${a}+${at("b")}`], /goes with one device/],
    ];
    for (const [words, message] of cases) {
      const refusal: unknown = await plan(...words).catch((error: unknown) => error);
      expect(refusal, words.join(" ")).toBeInstanceOf(RefusedError);
      expect((refusal as Error).message).toMatch(message);
    }
    expect(readFileSync(a).every((byte) => byte === 0)).toBe(true);
  });

  it.each<[string, [number, string][]]>([
    ["an h2ts volume", [[0, "H2TSNODE"]]],
    ["an h2ts volume", [[32768, "H2TSNODE"]]],
    ["an ext2/3/4 filesystem", [[0x438, "\x53\xef"]]],
    ["an XFS filesystem", [[0, "XFSB"]]],
    ["a btrfs filesystem", [[0x10040, "_BHRfS_M"]]],
    ["a LUKS encrypted volume", [[0, "LUKS\xba\xbe"]]],
    ["a swap area", [[4086, "SWAPSPACE2"]]],
    ["a ZFS pool member", [[131072, "\x0c\xb1\xba\x00\x00\x00\x00\x00"]]],
    ["a GPT partition table", [[512, "EFI PART"]]],
    [
      "an MBR partition table",
      [
        [446, "\x80\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x08"],
        [510, "\x55\xaa"],
      ],
    ],
    ["data of an unknown kind", [[100, "thesis"]]],
  ])("that hold %s need -f", async (what, pieces) => {
    const path = image("held", 64 * M, ...pieces);
    const before = readFileSync(path);
    await expect(plan(path)).rejects.toThrow(`${path}: holds ${what}; use -f to overwrite it`);
    expect((await plan("-f", path))[0]?.nodes[0]?.overwrites).toBeDefined();
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it.each([M, 2_000_000, 50_000_000, 64 * M - 6])("that hold data from byte %i on only need -f", async (offset) => {
    const path = sparse("held", 64 * M, [offset, "thesis"]);
    for (const words of [[path], ["-s", "32M", path], ["-s", "96M", path]])
      await expect(plan(...words)).rejects.toThrow(`${path}: holds data of an unknown kind; use -f to overwrite it`);
    expect((await plan("-f", path))[0]?.nodes[0]?.overwrites).toBe("data of an unknown kind");
    // A volume is named as what it is, though there are data of it everywhere.
    sparse("held", 64 * M, [0, "H2TSNODE"], [offset, "thesis"]);
    await expect(plan(path)).rejects.toThrow(`${path}: holds an h2ts volume; use -f to overwrite it`);
  });

  it("that hold zeros only do not, written or allocated, unless there are more than anybody looks through", async () => {
    writeFileSync(at("written"), Buffer.alloc(32 * M));
    await expect(plan("-s", "20M", at("written"))).resolves.toHaveLength(1);
    if (spawnSync("fallocate", ["-l", "32M", at("allocated")]).status === 0)
      await expect(plan(at("allocated"))).resolves.toHaveLength(1);
    const pieces = Array.from({ length: 600 }, (_, i): [number, string] => [2 * M * (i + 1), "\0"]);
    const path = sparse("scattered", 2 * M * 601, ...pieces);
    await expect(plan(path)).rejects.toThrow(
      `${path}: holds data, or more written zeros than are looked through; use -f to overwrite it`,
    );
  });

  it("on a server are searched, too, but not far: it may be a disk, and far away", async () => {
    const device = new SimulatedDevice("far", 64 * M);
    expect(await deviceSignature(device)).toBeUndefined();
    expect(device.bytes.read).toBeLessThanOrEqual(17 * M);
    await device.write(2_000_000, [Buffer.from("thesis")]);
    expect(await deviceSignature(device)).toBe("data of an unknown kind");
    const damaged = new SimulatedDevice("damaged", 64 * M);
    damaged.fail({ operation: "read", nth: 1, atByte: 5 * M, effect: { kind: "error", code: "EIO" } });
    expect(await deviceSignature(damaged)).toBe("data that can't be read");
  });
});
