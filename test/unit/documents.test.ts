// The documents hang together: a link leads to a file, and to a heading of it; a source or test that is named is there.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const DOCUMENTS = ["README.md", ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`)];

const textOf = (document: string): string => readFileSync(join(ROOT, document), "utf8");

/** What a heading can be linked by. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

const anchorsIn = (document: string): string[] =>
  [...textOf(document).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => anchorOf(heading));

/** `path` may have a star in the name of its file. */
function isThere(path: string): boolean {
  const folder = join(ROOT, dirname(path));
  const name = new RegExp(`^${basename(path).replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
  return existsSync(folder) && readdirSync(folder).some((other) => name.test(other));
}

describe.each(DOCUMENTS)("%s", (document) => {
  it("has links that lead somewhere", () => {
    const dead = [...textOf(document).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)]
      .filter(([, file = "", anchor]) => {
        const target = file === "" ? document : relative(ROOT, join(ROOT, dirname(document), file));
        if (!existsSync(join(ROOT, target))) return true;
        return anchor !== undefined && !anchorsIn(target).includes(anchor);
      })
      .map(([link]) => link);
    expect(dead).toEqual([]);
  });

  it("names files that are there", () => {
    const named = textOf(document).matchAll(
      /(?<![\w/])(?:src|mkfs|fsck|test|bench|tools|fixtures|docs|man)\/[\w./\\*-]+\.\w+\b/g,
    );
    const paths = [...named].map(([path]) => path.replaceAll("\\", ""));
    expect(paths.filter((path) => !isThere(path))).toEqual([]);
  });
});
