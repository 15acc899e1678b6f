// Work that waits for the disk: appends that are synced, and a database.

import { missingProgram } from "../peers/peer.ts";
import type { Scenario } from "./scenario.ts";

export const fsync: Scenario = {
  name: "fsync",
  rows: [
    { name: "fsync p50", unit: "µs" },
    { name: "fsync p99", unit: "µs" },
  ],
  run: async (place) => {
    const { p50, p99 } = await place.task("fsync");
    return { "fsync p50": p50 as number, "fsync p99": p99 as number };
  },
};

/** Every insert a transaction, and every transaction durable. */
function script(inserts: number): string {
  const lines = ["PRAGMA journal_mode=WAL;", "PRAGMA synchronous=FULL;"];
  lines.push("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body BLOB);");
  for (let i = 0; i < inserts; i++) lines.push(`INSERT INTO t VALUES(${i}, 'name ${i}', randomblob(500));`);
  return `${lines.join("\n")}\n`;
}

export const sqlite: Scenario = {
  name: "sqlite",
  rows: [{ name: "SQLite WAL insert", unit: "op/s" }],
  missing: () => missingProgram("sqlite3"),
  run: async (place) => {
    const { inserts } = place.amounts;
    const { seconds } = await place.program("sqlite3", ["-batch", "database"], script(inserts));
    return { "SQLite WAL insert": inserts / seconds };
  },
};
