// Where a path leads, without a look at what is there: a mount that nobody serves answers no call, and can be named by links all the same.

import { isUtf8 } from "node:buffer";
import { readlinkSync } from "node:fs";
import { dirname, isAbsolute } from "node:path";

/** As the kernel has it; with more in one path, or in a circle, none is followed any further. */
const LINKS_MAX = 40;

/**
 * The absolute path that `path` stands for, all links in it followed. What is not there, or can't be looked at, is taken as it is named; so
 * is a link to a name that is not UTF-8, which the system can follow, and no string can say.
 */
export function followLinks(path: string): string {
  const ahead = namesOf(isAbsolute(path) ? path : `${process.cwd()}/${path}`);
  let at = "/";
  let followed = 0;
  for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    const next = at === "/" ? `/${name}` : `${at}/${name}`;
    const target = followed < LINKS_MAX ? targetOf(next) : undefined;
    if (target === undefined) {
      at = next;
      continue;
    }
    followed++;
    if (isAbsolute(target)) at = "/";
    ahead.push(...namesOf(target));
  }
  return at;
}

/** The last one first. */
const namesOf = (path: string): string[] => path.split("/").reverse();

/** Of what is no link the kernel says so by itself, even where something is mounted. */
function targetOf(path: string): string | undefined {
  try {
    const target = readlinkSync(path, "buffer");
    return isUtf8(target) ? target.toString() : undefined;
  } catch {
    return undefined;
  }
}
