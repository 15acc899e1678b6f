// The manual pages and the commands know the same options: what one of them takes is in the page, and what is in the page it takes.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { parseOptions as parseFsckOptions } from "../../fsck/options.ts";
import { parseOptions as parseMkfsOptions } from "../../mkfs/options.ts";
import { HELP as HELPER_HELP, HELPER_OPTIONS } from "../../src/cli/mount-helper-words.ts";
import { h2tsProgram } from "../../src/cli/program.ts";
import { MountOptions } from "../../src/daemon/mount-options.ts";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";

const ROOT = join(import.meta.dirname, "../..");
const PAGES = readdirSync(join(ROOT, "man"));

/** A page as text, with requests left at the beginnings of lines. */
function source(page: string): string {
  const text = readFileSync(join(ROOT, "man", page), "utf8");
  return text.replaceAll("\\\n", "").replaceAll(/\\f./g, "").replaceAll("\\-", "-");
}

/** The text of each section, by its heading; with `request` "SS" of each part of one. */
function parts(text: string, request: "SH" | "SS"): Map<string, string> {
  const [, ...found] = text.split(new RegExp(`^\\.${request} `, "m"));
  return new Map(found.map((part) => [part.slice(0, part.indexOf("\n")), part.slice(part.indexOf("\n"))]));
}

/** What is said something of: the lines that follow .TP. */
const tags = (text: string): string[] => [...text.matchAll(/^\.TP\n(.+)$/gm)].map(([, tag = ""]) => tag);

/** Options as a command's help has them: "-s, --size SIZE". */
function flagsIn(help: string): string[] {
  const lines = help.matchAll(/^ +(-[^\n]*?)(?: {2,}[^\n]*)?$/gm);
  return [...lines].map(([, flags = ""]) => flags.replaceAll(/[<>]/g, "")).sort();
}

function printed(run: () => unknown): string {
  let text = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((piece) => {
    text += String(piece);
    return true;
  });
  try {
    run();
  } finally {
    write.mockRestore();
  }
  return text;
}

describe("the pages", () => {
  it.each([
    ["mkfs.h2ts.8", () => printed(() => parseMkfsOptions(["--help"], "1"))],
    ["fsck.h2ts.8", () => printed(() => parseFsckOptions(["--help"], "1"))],
    ["mount.h2ts.8", () => HELPER_HELP],
    // Said once for all verbs that have it.
    ["h2ts.8", () => `${h2tsProgram().helpInformation()}\n  -j, --json`],
  ])("%s has the options of its command", (page, help) => {
    const flags = flagsIn(help());
    expect(flags.length).toBeGreaterThan(2);
    expect(tags(parts(source(page), "SH").get("OPTIONS") ?? "").sort()).toEqual(flags);
  });

  it("mount.h2ts says what it takes", () => {
    const taken = Object.entries(HELPER_OPTIONS).map(([long, { short }]) => `-${short}, --${long}`);
    const said = flagsIn(HELPER_HELP).map((flags) => flags.replace(/ [A-Z]+$/, ""));
    expect(said).toEqual([...taken, "-V, --version", "--help"].sort());
  });

  it("h2ts.8 has every verb with its usage, and its options but for those that many share", () => {
    const sections = parts(source("h2ts.8"), "SH");
    const shared = tags(sections.get("OPTIONS") ?? "");
    const found = parts(sections.get("COMMANDS") ?? "", "SS");
    const known = h2tsProgram().commands.map((verb) => {
      const own = flagsIn(verb.helpInformation()).filter((flags) => !shared.includes(flags));
      return [`h2ts ${verb.name()} ${verb.usage()}`, own] as const;
    });
    const inPage = [...found].map(([heading, text]) => [heading, tags(text).sort()] as const);
    expect(inPage.filter(([heading]) => heading !== "h2ts help [COMMAND]")).toEqual(known);
  });

  it.each(PAGES)(
    "%s is a page of its name, of which every reference leads to another one or to one of the system",
    (page) => {
      const [, name = "", section = ""] = /^(.+)\.(\d)$/.exec(page) ?? [];
      const text = source(page);
      expect(text).toMatch(new RegExp(`^\\.TH ${name.toUpperCase()} ${section} `));
      expect(parts(text, "SH").get("NAME")).toMatch(new RegExp(`^\\n${name} - `));
      const ours = [...text.matchAll(/^\.BR (\S*h2ts) \((\d)\)/gm)].map(([, other = "", of = ""]) => `${other}.${of}`);
      expect(ours.filter((other) => !PAGES.includes(other))).toEqual([]);
    },
  );
});

/** For each of what mount options say, one that says so. */
const SAMPLES: Record<keyof MountOptions, string> = {
  cacheBytes: "cache=1G",
  commitSeconds: "commit=30",
  deadlineMs: "deadline=250",
  remoteTimeoutMs: "nbd-timeout=9000",
  remoteRetries: "nbd-retry=7",
  remoteConnections: "nbd-connections=2",
  degraded: "degraded",
  master: "master=newest",
  resyncBytesPerSecond: "resync-rate=20M",
  readOnly: "ro",
  warmUp: "nowarmup",
  remount: "remount",
  transport: "transport=fuse-native",
  allowOther: "allow_other",
  logPath: "log=/var/log/h2ts",
  metrics: "metrics=9100",
  vfsWords: "noatime",
};

describe("mount.h2ts.8 and the mount options", () => {
  const wordOf = (option: string): string => option.replace(/=.*/, "");
  const words = tags(parts(source("mount.h2ts.8"), "SH").get("MOUNT OPTIONS") ?? "").flatMap((tag) =>
    tag.split(", ").map(wordOf),
  );

  it("agree on what can be said", () => {
    expect(Object.keys(SAMPLES).sort()).toEqual(Object.keys(MountOptions.shape).sort());
    for (const [field, sample] of Object.entries(SAMPLES)) {
      expect(parseMountOptions([sample])[field as keyof MountOptions], sample).not.toEqual(
        parseMountOptions([])[field as keyof MountOptions],
      );
      expect(words).toContain(wordOf(sample));
    }
  });

  it("agree on every word", () => {
    const samples = new Map(Object.values(SAMPLES).map((sample) => [wordOf(sample), sample]));
    for (const word of words) expect(() => parseMountOptions([samples.get(word) ?? word]), word).not.toThrow();
    expect(words.length).toBe(new Set(words).size);
  });

  it("h2ts mount --help among them", () => {
    const help = printed(() => {
      const mount = h2tsProgram().commands.find((verb) => verb.name() === "mount");
      mount?.outputHelp();
    });
    const [, list = ""] = help.split("Options of -o");
    const said = [...list.matchAll(/^ {2}(\S[^\n]*?)(?: {2,}[^\n]*)?$/gm)].flatMap(([, text = ""]) => text.split(", "));
    expect(said.length).toBeGreaterThan(10);
    expect(said.map(wordOf).filter((word) => !["...", "…"].includes(word) && !words.includes(word))).toEqual([]);
  });
});
