// Real programs at work on a mount, and a comparison of two trees down to the last attribute.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, readdirSync } from "node:fs";
import { expect } from "vitest";
import { errnoOf, sys } from "./posix-system.ts";

const HASH_BYTES = 2 ** 20;
const PROGRAM_TIMEOUT_MS = 1_200_000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
const DIRECTORY = 0o040000;

/** Runs a program to its end; fails unless it succeeds. Returns what it printed. */
export function run(program: string, words: readonly string[], cwd = "/"): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: PROGRAM_TIMEOUT_MS });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(out);
      else
        reject(new Error(`${program} ${words.join(" ")}: ${signal ?? code}\n${out.slice(-2000)}\n${err.slice(-2000)}`));
    });
  });
}

export function hashOf(path: Uint8Array): string {
  const hash = createHash("sha1");
  const buffer = Buffer.alloc(HASH_BYTES);
  const fd = openSync(Buffer.from(path), "r");
  try {
    for (let length = readSync(fd, buffer); length > 0; length = readSync(fd, buffer)) {
      hash.update(buffer.subarray(0, length));
    }
  } finally {
    closeSync(fd);
  }
  return hash.digest("hex");
}

/**
 * Everything a copy must have kept of each name below `root`: a line a name, the content by its hash. Names are bytes,
 * so paths are taken and told as Latin-1.
 */
export function describeTree(
  root: string,
  below = "",
  lines = new Map<string, string>(),
  firsts = new Map<number, string>(),
) {
  const path = Buffer.from(`${root}${below}`, "latin1");
  const status = sys.lstat(path);
  const { type, mode, uid, gid, mtime, nlink, ino, rdevMajor, rdevMinor } = status;
  const line = [type.toString(8), mode.toString(8), uid, gid, mtime, `${rdevMajor}:${rdevMinor}`];
  if (type === REGULAR) line.push(status.size, hashOf(path));
  if (type === SYMLINK) line.push(sys.readlink(path).toString("latin1"));
  if (type !== DIRECTORY && nlink > 1) {
    // Links within the tree, by the first of the names.
    const first = firsts.get(ino) ?? below;
    firsts.set(ino, first);
    line.push(`link of ${first}`);
  }
  const names = errnoOf(() => sys.listXattrs(path)) === "none" ? sys.listXattrs(path) : [];
  for (const name of names) line.push(`${name}=${sys.getXattr(path, name).toString("hex")}`);
  lines.set(below, line.join(" "));
  if (type === DIRECTORY) {
    for (const name of readdirSync(path, "latin1").sort()) describeTree(root, `${below}/${name}`, lines, firsts);
  }
  return lines;
}

/** Fails with the first few differences. */
export function expectSameTree(actual: Map<string, string>, expected: Map<string, string>): void {
  const names = new Set([...actual.keys(), ...expected.keys()]);
  const different = [...names].filter((name) => actual.get(name) !== expected.get(name));
  const told = different.slice(0, 5).map((name) => `${name}: ${actual.get(name)} instead of ${expected.get(name)}`);
  expect(told, `${different.length} of ${names.size} names differ`).toEqual([]);
}
