// The rule of the house: a folder may import only from folders above it in the list; mkfs and fsck never touch the
// filesystem side, directly or through something they import.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const FOLDERS = [
  ...["base", "format", "device", "nbd", "copies", "freemap", "tree", "log", "ops", "volume", "walk", "posix", "fuse"],
  ...["daemon", "cli"],
].map((name) => `src/${name}`);
const ORDER = [...FOLDERS, "mkfs", "fsck", "bench"];
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  mkfs: ["src/posix", "src/fuse"],
  fsck: ["src/posix", "src/fuse"],
};

function sourceFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return sourceFiles(path);
    return name.endsWith(".ts") ? [path] : [];
  });
}

function folderOf(path: string): string {
  const parts = relative(ROOT, path).split("/");
  if (parts[0] !== "src") return parts[0] as string;
  return parts.length === 2 ? "src/cli" : `src/${parts[1]}`; // src/cli.ts is the front of src/cli
}

function importsOf(path: string): string[] {
  const text = readFileSync(path, "utf8");
  const found = text.matchAll(
    /^\s*(?:import|export)\b[^;"]*?from\s+"(\.[^"]+)"|\bimport\(\s*"(\.[^"]+)"\s*\)|^\s*import\s+"(\.[^"]+)"/gm,
  );
  return [...found].map((match) => resolve(dirname(path), (match[1] ?? match[2] ?? match[3]) as string));
}

/** What a file can't begin without: no types, and nothing that it loads later. */
function neededBy(path: string): string[] {
  const text = readFileSync(path, "utf8");
  const found = text.matchAll(/^\s*(?:import|export)\s+(?!type\b)[^;"]*?from\s+"(\.[^"]+)"|^\s*import\s+"(\.[^"]+)"/gm);
  return [...found].map((match) => resolve(dirname(path), (match[1] ?? match[2]) as string));
}

/** Files that can be reached from those in `queue`, themselves included. */
function reached(queue: string[], next: (file: string) => string[]): Set<string> {
  const seen = new Set(queue);
  for (const file of seen) for (const target of next(file)) seen.add(target);
  return seen;
}

const files = ["src", "mkfs", "fsck"].map((name) => join(ROOT, name)).flatMap(sourceFiles);

/** The folders that the table of layers in docs/architecture.md names, in its order. */
function layersInDocs(): string[] {
  const [, layers = ""] = readFileSync(join(ROOT, "docs/architecture.md"), "utf8").split("\n## Layers\n");
  const rows = layers.split("\n## ", 1)[0]?.matchAll(/^\| (`[^|]+) \|/gm) ?? [];
  return [...rows].flatMap(([, names = ""]) => names.replaceAll("`", "").split(", "));
}

describe("imports", () => {
  it("follow the list in docs/architecture.md", () => {
    expect(layersInDocs()).toEqual(ORDER.filter((name) => name !== "bench"));
  });

  it("finds files in every folder it judges", () => {
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) expect(ORDER, file).toContain(folderOf(file));
  });

  it("go only to folders above", () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const target of importsOf(file)) {
        const from = folderOf(file);
        const to = folderOf(target);
        if (ORDER.indexOf(to) > ORDER.indexOf(from))
          wrong.push(`${relative(ROOT, file)} imports ${relative(ROOT, target)}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("never lead mkfs or fsck to posix or fuse", () => {
    const wrong: string[] = [];
    for (const [start, forbidden] of Object.entries(FORBIDDEN)) {
      const queue = files.filter((file) => folderOf(file) === start);
      for (const file of reached(queue, importsOf)) {
        if (forbidden.includes(folderOf(file))) wrong.push(`${start} reaches ${relative(ROOT, file)}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  // People wait for commands, and a mount for its supervisor, as long as it takes to load them.
  it.each(["src/cli.ts", "src/cli/mount-helper.ts", "src/daemon/supervisor-main.ts"])(
    "lead %s to nothing of a volume, and to no server or client, before that is asked for",
    (entry) => {
      const needed = [...reached([join(ROOT, entry)], neededBy)].map((file) => relative(ROOT, file));
      expect(needed.length).toBeGreaterThan(10);
      expect(
        needed.filter((file) =>
          /^src\/(freemap|tree|volume(?!\/defaults\.)|walk|posix|nbd\/server|nbd\/client(?!\/policy\.))\//.test(file),
        ),
      ).toEqual([]);
    },
  );

  it("resolve to files that exist", () => {
    for (const file of files)
      for (const target of importsOf(file)) expect(files, `${file} → ${target}`).toContain(target);
  });
});
