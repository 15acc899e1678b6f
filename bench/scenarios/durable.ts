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

export const randomFsync: Scenario = {
  name: "random-fsync",
  rows: [{ name: "random 4K write + fsync", unit: "op/s" }],
  run: async (place) => {
    await place.task("randomPrepare");
    await place.settle();
    const { write } = await place.task("randomFsync");
    return { "random 4K write + fsync": write as number };
  },
};

/** Every insert a transaction, and every transaction durable. */
function script(inserts: number, mode: "WAL" | "DELETE"): string {
  const lines = [`PRAGMA journal_mode=${mode};`, "PRAGMA synchronous=FULL;"];
  lines.push("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, body BLOB);");
  for (let i = 0; i < inserts; i++) lines.push(`INSERT INTO t VALUES(${i}, 'name ${i}', randomblob(500));`);
  return `${lines.join("\n")}\n`;
}

export const sqlite: Scenario = {
  name: "sqlite",
  rows: [
    { name: "SQLite WAL insert", unit: "op/s" },
    { name: "SQLite DELETE insert", unit: "op/s" },
  ],
  missing: () => missingProgram("sqlite3"),
  run: async (place) => {
    const { inserts } = place.amounts;
    const { seconds: wal } = await place.program("sqlite3", ["-batch", "database"], script(inserts, "WAL"));
    const { seconds: rollback } = await place.program("sqlite3", ["-batch", "other"], script(inserts, "DELETE"));
    return { "SQLite WAL insert": inserts / wal, "SQLite DELETE insert": inserts / rollback };
  },
};
