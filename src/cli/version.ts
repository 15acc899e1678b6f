// The version of this installation, from the package it was installed as.

import { existsSync, readFileSync } from "node:fs";

/** Works from the sources and from dist/, which is one folder deeper. */
export function packageVersion(): string {
  const candidates = ["../../package.json", "../../../package.json"].map((path) => new URL(path, import.meta.url));
  const found = candidates.find((url) => existsSync(url));
  return found ? (JSON.parse(readFileSync(found, "utf8")) as { version: string }).version : "unknown";
}
