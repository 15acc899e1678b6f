import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseOptions } from "../../fsck/options.ts";
import { UsageError } from "../../src/base/usage-error.ts";

const parse = (...words: string[]) => parseOptions(words, "0");

test("options as people and fsck(8) give them", () => {
  expect(parse("a.img", "b.img")).toEqual({
    repair: undefined,
    force: false,
    abandon: false,
    progress: false,
    json: false,
    resync: false,
    selectMaster: undefined,
    targets: ["a.img", "b.img"],
  });
  expect(parse("--resync", "a.img")).toMatchObject({ resync: true, selectMaster: undefined });
  expect(parse("--select-master", "1", "a.img,b.img")).toMatchObject({ resync: true, selectMaster: "1" });
  expect(parse("-p", "a.img,b.img")).toMatchObject({ repair: "safe", targets: ["a.img", "b.img"] });
  expect(parse("-a", "-C0", "a.img")).toMatchObject({ repair: "safe", progress: true, targets: ["a.img"] });
  expect(parse("-yfCj", "a.img+b.img")).toMatchObject({
    repair: "full",
    force: true,
    progress: true,
    json: true,
    targets: ["a.img+b.img"],
  });
  expect(parse("-y", "--abandon", "a.img")).toMatchObject({ repair: "full", abandon: true, force: true });
  expect(parse("-n", "-f", "a.img")).toMatchObject({ repair: undefined, force: true });
});

test("a path that exists is one target, whatever is in its name", () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-options-"));
  try {
    const [a, b, c] = ["a,b.img", "b+c.img", "c.img"].map((name) => join(folder, name)) as [string, string, string];
    for (const path of [a, b, c]) writeFileSync(path, "");
    expect(parse(a, `${c}+${a}`, b, `${c},${c}`)?.targets).toEqual([a, `${c}+${a}`, b, c, c]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("wrong options are named in one line", () => {
  for (const words of [
    [],
    ["-n", "-y", "a"],
    ["-p", "-y", "a"],
    ["--nonsense", "a"],
    ["--resync", "-y", "a"],
    ["-p", "--abandon", "a"],
    ["--abandon", "a"],
    [""],
    ["a,,b"],
    ["a.img+b\uFFFD.img"],
    ["--resync", "a.img,b\uFFFD.img"],
  ]) {
    expect(() => parse(...words), words.join(" ")).toThrow(UsageError);
    expect(() => parse(...words)).toThrow(/^[^\n]+$/);
  }
});

test("a name that is not UTF-8 is told from one that is not there", () => {
  expect(() => parse("-n", "b\uFFFD.img")).toThrow(/^b\uFFFD\.img: its name is not UTF-8, /);
});
