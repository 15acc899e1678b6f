// Makes calls that must not be carried out twice, and tells of each what came of it. Everything has a name of its own, so a
// call carried out twice shows at once: EEXIST, ENOENT, a record too many. Ends with one line of JSON when told to stop.
import {
  appendFileSync, closeSync, existsSync, linkSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmdirSync,
  statSync, symlinkSync, unlinkSync, writeSync,
} from "node:fs";
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const folder = process.argv[2];
let stopping = false;
process.on("message", () => (stopping = true));

let rounds = 0;
let records = 0;
const log = join(folder, "log");
appendFileSync(log, "");
while (!stopping) {
  const at = join(folder, `round-${rounds}`);
  mkdirSync(at);
  const file = join(at, "file");
  const fd = openSync(file, "wx");
  writeSync(fd, `round ${rounds}`);
  closeSync(fd);
  linkSync(file, join(at, "second"));
  symlinkSync("file", join(at, "link"));
  if (statSync(file).nlink !== 2) throw new Error(`round ${rounds}: ${statSync(file).nlink} links`);
  renameSync(file, join(at, "renamed"));
  unlinkSync(join(at, "second"));
  mkdirSync(join(at, "below"));
  rmdirSync(join(at, "below"));
  appendFileSync(log, `${records++}\n`);
  const names = readdirSync(at).sort().join();
  if (names !== "link,renamed" || statSync(join(at, "renamed")).nlink !== 1) throw new Error(`round ${rounds}: ${names}`);
  if (readFileSync(join(at, "renamed"), "utf8") !== `round ${rounds}`) throw new Error(`round ${rounds}: another content`);
  if (rounds % 16 === 0) {
    const set = spawnSync("setfattr", ["-n", "user.once", "-v", "x", join(at, "renamed")]);
    if (set.error === undefined && set.status !== 0) throw new Error(`round ${rounds}: setfattr: ${set.stderr}`);
  }
  if (rounds >= 40) {
    const old = join(folder, `round-${rounds - 40}`);
    unlinkSync(join(old, "renamed"));
    unlinkSync(join(old, "link"));
    rmdirSync(old);
    if (existsSync(old)) throw new Error(`${old} is still there`);
  }
  rounds++;
  await new Promise((resolve) => setImmediate(resolve));
}
const lines = readFileSync(log, "utf8").split("\n");
lines.pop();
if (lines.length !== records || lines.some((line, i) => line !== String(i))) {
  throw new Error(`the log has ${lines.length} records, ${records} were appended`);
}
process.send({ rounds });
process.disconnect();
