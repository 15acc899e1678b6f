// h2ts set, h2ts get: properties of files and directories. They are extended attributes that the filesystem itself answers for,
// so they work through the mount point like any other request, and for ordinary users on what they own.

import type { Command } from "commander";
import { UsageError } from "../base/usage-error.ts";
import { MountError } from "../daemon/start-mount.ts";
import { extendedAttribute, setExtendedAttribute } from "../daemon/system-calls.ts";
import { COPIES_XATTR } from "../ops/copies-property.ts";

export function addProperties(program: Command): void {
  program
    .command("set")
    .description("set a property of files or directories; what is made in a directory later inherits it")
    .usage("copies=K|all PATH...")
    .argument("<copies=K>", "on how many copies file data is written from now on; all for every copy")
    .argument("<PATH...>", "files or directories of a mounted volume")
    .action((assignment: string, paths: string[]) => {
      const value = /^copies=([1-8]|all)$/.exec(assignment)?.[1];
      if (value === undefined) throw new UsageError(`${assignment}: give copies=K, K from 1 to 8, or copies=all`);
      for (const path of paths) {
        copiesOf(path);
        attempt(path, value, () => setExtendedAttribute(path, COPIES_XATTR, value));
      }
    });
  program
    .command("get")
    .description("print a property of files or directories")
    .usage("copies PATH...")
    .argument("<copies>", "the property")
    .argument("<PATH...>", "files or directories of a mounted volume")
    .action((property: string, paths: string[]) => {
      if (property !== "copies") throw new UsageError(`${property}: there is no such property; give copies`);
      for (const path of paths) {
        const line = `copies=${copiesOf(path)}`;
        console.log(paths.length === 1 ? line : `${path}: ${line}`);
      }
    });
}

/** Other filesystems know the attribute as one that is not there, and would keep it without a meaning. */
function copiesOf(path: string): string {
  return attempt(path, undefined, () => extendedAttribute(path, COPIES_XATTR));
}

/** `value`: what is to be set, if anything. */
function attempt<T>(path: string, value: string | undefined, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw new MountError(`${path}: ${reason(error, value)}`);
  }
}

function reason(error: unknown, value: string | undefined): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case "ENODATA":
    case "ENOTSUP":
    case "EOPNOTSUPP":
      return "is no file or directory of a mounted h2ts volume";
    case "ENOENT":
      return "does not exist";
    case "EINVAL":
      return value === undefined ? message : `the volume has fewer copies than ${value}; see h2ts status`;
    case "EPERM":
    case "EACCES":
      return value === undefined ? "permission denied" : "only its owner, or root, may set copies";
    case "EROFS":
      return "the volume is read-only; see h2ts status";
    default:
      return message;
  }
}
