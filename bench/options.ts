// The command line of the bench.

import { tmpdir } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import { type Amounts, FULL, QUICK } from "./amounts.ts";

export interface Options {
  /** Names of rows or of scenarios; empty for all. */
  readonly only: readonly string[];
  /** Names of peers; empty for all. */
  readonly peers: readonly string[];
  readonly runs: number;
  readonly amounts: Amounts;
  readonly pin: boolean;
  readonly json: boolean;
  readonly parent: string;
  /** For h2ts: its -o. */
  readonly mountOptions: string;
}

interface Flags {
  readonly only: string[];
  readonly peers: string[];
  readonly runs: number;
  readonly size?: number;
  readonly quick?: boolean;
  readonly pin?: boolean;
  readonly json?: boolean;
  readonly directory: string;
  readonly options: string;
}

const words = (text: string): string[] => text.split(",").filter((word) => word !== "");

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("takes a whole number from 1 on.");
  return value;
}

export function parseOptions(argv: readonly string[], rows: readonly string[], peers: readonly string[]): Options {
  const command = new Command("npm run bench --")
    .description("measures h2ts with two copies beside other filesystems on the same disk")
    .option("--only <NAMES>", "rows or scenarios, separated by commas", words, [])
    .option("--peers <NAMES>", `peers to measure, separated by commas: ${peers.join(", ")}`, words, [])
    .option("--runs <N>", "how often each is measured, in turns", count, 3)
    .option("--size <MIB>", "size of the file written and read in order (default 1024)", count)
    .option("--quick", "little work: does everything run?")
    .option("--pin", "everything on CPU 0")
    .option("-j, --json", "print JSON")
    .option("--directory <DIR>", "where the temporary files go", tmpdir())
    .option("-o, --options <OPTIONS>", "mount options for h2ts", "cache=256M")
    .addHelpText("after", `\nRows and scenarios: ${rows.join(", ")}`);
  const flags = command.parse(argv, { from: "user" }).opts<Flags>();
  const refuse = (names: readonly string[], known: readonly string[], what: string): void => {
    const unknown = names.find((name) => !known.includes(name));
    if (unknown !== undefined) command.error(`error: no ${what} '${unknown}'; there are ${known.join(", ")}`);
  };
  refuse(flags.only, rows, "row or scenario");
  refuse(flags.peers, peers, "peer");
  const amounts = flags.quick ? QUICK : FULL;
  return {
    only: flags.only,
    peers: flags.peers,
    runs: flags.quick ? 1 : flags.runs,
    amounts: flags.size === undefined ? amounts : { ...amounts, sequentialMib: flags.size },
    pin: flags.pin ?? false,
    json: flags.json ?? false,
    parent: flags.directory,
    mountOptions: flags.options,
  };
}
