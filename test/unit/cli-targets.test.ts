// Targets as commands hand them on: by whole paths, and joined so that they can be told apart again.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { asNamed, resolveDirectory, resolveTarget } from "../../src/cli/mount-preparation.ts";
import { rowRefusal } from "../../src/copies/target-nodes.ts";

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-targets-")));
  mkdirSync(join(folder, "x+y/deep"), { recursive: true });
  symlinkSync("x+y", join(folder, "xy"));
  symlinkSync("x+y/deep", join(folder, "deep"));
  for (const name of ["a.img", "x+y/b.img"]) writeFileSync(join(folder, name), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("a node of a row with a plus sign in its path is refused: the next worker would look for two others", () => {
  const row = `${folder}/a.img+${folder}/xy/b.img`;
  expect(() => resolveTarget(row)).toThrow(`${folder}/x+y/b.img: has a plus sign in its path`);
});

it("a name that was not UTF-8 is refused, unless there is a file of the very name that is read in its place", () => {
  const replaced = `${folder}/x\uFFFD.img`;
  const refusal = `${replaced}: its name is not UTF-8, and can't be told from others; give it another name`;
  expect(() => resolveTarget(replaced)).toThrow(refusal);
  expect(() => resolveTarget(`${folder}/a.img+${replaced}`)).toThrow(refusal);
  writeFileSync(replaced, "");
  expect(resolveTarget(replaced)).toBe(replaced);
});

it("by itself it is as good as any", () => {
  expect(resolveTarget(`${folder}/xy/b.img`)).toBe(`${folder}/x+y/b.img`);
});

it("what is behind a link is meant as the system takes it, also one up, and also what is not there", () => {
  expect(resolveTarget(`${folder}/deep/../b.img`)).toBe(`${folder}/x+y/b.img`);
  expect(resolveTarget(`${folder}/deep/../c.img`)).toBe(`${folder}/x+y/c.img`);
  expect(asNamed(`${folder}/deep/../b.img`)).toBe(`${folder}/x+y/b.img`);
  expect(asNamed(`${folder}/x+y/../xy/./b.img`)).toBe(`${folder}/xy/b.img`);
  expect(resolveDirectory(`${folder}/deep/..`)).toBe(`${folder}/x+y`);
});

it("a remote node by a socket whose path none can have is refused", () => {
  const target = `nbd+unix:///x?socket=/${"s".repeat(106)}`;
  expect(resolveTarget(target)).toBe(target);
  expect(() => resolveTarget(`${target}s`)).toThrow(/s: the path of a socket may be 107 bytes long$/);
});

it("the plus sign in the scheme of a remote node is none that joins", () => {
  expect(rowRefusal("nbd+unix:///x?socket=/a")).toBeUndefined();
  expect(resolveTarget(`${folder}/a.img+nbd+unix:///x?socket=/a`)).toBe(`${folder}/a.img+nbd+unix:///x?socket=/a`);
});
