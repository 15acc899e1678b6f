// Pre-shared keys as psktool writes them: a line for each identity, `identity:key`, the key in hex.
// Nothing of a line is ever repeated in an error: it may hold a key.

import { readFileSync, statSync } from "node:fs";

const KEY_MIN_BYTES = 16;

/** The file can't be used; the message names it and the line. */
class PskFileError extends Error {
  override readonly name = "PskFileError";
}

export type PskKeys = ReadonlyMap<string, Uint8Array>;

/** Reads a file of keys. `warn` is told when others may read it, too. */
export function readPskFile(path: string, warn: (line: string) => void): PskKeys {
  let text: string;
  let mode: number;
  try {
    text = readFileSync(path, "utf8");
    mode = statSync(path).mode;
  } catch (error) {
    throw new PskFileError(`${path}: can't be read: ${(error as NodeJS.ErrnoException).code ?? "unknown error"}`);
  }
  const keys = parsePskKeys(text, path);
  if ((mode & 0o007) !== 0) warn(`${path}: everybody may read these keys; chmod 600 it`);
  return keys;
}

export function parsePskKeys(text: string, path: string): PskKeys {
  const keys = new Map<string, Uint8Array>();
  text.split("\n").forEach((line, i) => {
    if (line.trim() === "") return;
    const [, identity, key] = /^([^:#\s][^:]*):((?:[0-9a-f]{2})+)\s*$/i.exec(line) ?? [];
    if (identity === undefined || key === undefined)
      throw new PskFileError(`${path}: line ${i + 1} is not identity:key, with the key in hex`);
    if (key.length < 2 * KEY_MIN_BYTES)
      throw new PskFileError(`${path}: the key in line ${i + 1} is shorter than ${KEY_MIN_BYTES} bytes`);
    if (keys.has(identity)) throw new PskFileError(`${path}: line ${i + 1} has an identity that an earlier one has`);
    keys.set(identity, Buffer.from(key, "hex"));
  });
  if (keys.size === 0) throw new PskFileError(`${path}: has no keys`);
  return keys;
}
