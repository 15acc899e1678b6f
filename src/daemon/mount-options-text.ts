// What people are told of the -o options: in the help of both mount commands, and in a table of docs/operation.md, which a test
// compares with this one.

import { type DeclaredOption, MOUNT_OPTIONS } from "./mount-options.ts";

interface Row {
  readonly words: readonly string[];
  readonly meaning: string;
  readonly unlessGiven?: string | undefined;
}

/** The words of mount(8), which say nothing to us. */
const GENERIC: Row = {
  words: ["suid", "dev", "noatime", "…"],
  meaning: "as for mount(8)",
  unlessGiven: "nosuid, nodev",
};

function rowOf({ word, value, opposite, meaning, unlessGiven }: DeclaredOption): Row {
  const words = value === undefined ? [word, ...(opposite === undefined ? [] : [opposite])] : [`${word}=${value}`];
  return { words, meaning, unlessGiven };
}

const ROWS = [...MOUNT_OPTIONS.map(rowOf), GENERIC];

/** One line for each option. */
export function mountOptionsHelp(): string {
  const names = ROWS.map(({ words }) => words.join(", "));
  const width = Math.max(...names.map((name) => name.length));
  const lines = ROWS.map(({ meaning, unlessGiven }, i) => {
    const ending = unlessGiven === undefined ? "" : ` (default: ${unlessGiven})`;
    return `  ${names[i]?.padEnd(width)}  ${meaning}${ending}`;
  });
  return ["Options of -o, separated by commas:", ...lines].join("\n");
}

/** Markdown, one row for each option. */
export function mountOptionsTable(): string {
  const rows = ROWS.map(({ words, meaning, unlessGiven = "" }) => {
    const names = words.map((word) => (word === "…" ? word : `\`${word}\``)).join(", ");
    return `| ${names} | ${meaning} | ${unlessGiven} |`;
  });
  return ["| option | what it changes | default |", "|---|---|---|", ...rows].join("\n");
}
