// Where a path leads, found without a look at what is there; the system's own answer is the model.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { followLinks } from "../../src/base/follow-links.ts";

let folder: string;
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-links-")));
  mkdirSync(join(folder, "a/b"), { recursive: true });
  writeFileSync(join(folder, "a/file"), "");
  for (const [name, target] of [
    ["near", "a"],
    ["far", join(folder, "a/b")],
    ["twice", "near/b"],
    ["a/up", ".."],
    ["a/around", "../a/./up//near"],
    ["root", "/"],
    ["circle", "circle/x"],
    ["nowhere", "a/missing/x"],
  ] as const)
    symlinkSync(target, join(folder, name));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each([
  "",
  "near",
  "near/",
  "far/.",
  "twice",
  "twice/..",
  "a/up/a",
  "near/around/b/..",
  "root",
  "root/../",
  "near/file",
])("%s leads where the system says", (name) => {
  const path = `${folder}/${name}`;
  expect(followLinks(path)).toBe(realpathSync.native(path));
  expect(followLinks(relative(process.cwd(), folder) + `/${name}`)).toBe(realpathSync.native(path));
});

it("what is not there is taken as it is named", () => {
  expect(followLinks(`${folder}/near/x/../y`)).toBe(`${folder}/a/y`);
  expect(followLinks(`${folder}/nowhere/y`)).toBe(`${folder}/a/missing/x/y`);
});

it("a link to a name that is not UTF-8 is left for the system to follow", () => {
  const name = Buffer.from(`${folder}/d\xff`, "latin1");
  mkdirSync(name);
  symlinkSync(name, join(folder, "strange"));
  writeFileSync(`${folder}/strange/file`, "");
  expect(followLinks(`${folder}/near/../strange/file`)).toBe(`${folder}/strange/file`);
});

it("links in a circle come to an end", () => {
  expect(followLinks(`${folder}/circle`)).toMatch(/\/circle(\/x)+$/);
});
