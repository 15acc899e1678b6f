// Operations on names by path: creation, links, removal, rename, and listing.

import type { Operations } from "fuse-native";
import { decodeDevice } from "../../base/device-number.ts";
import type { Eventually } from "../../base/eventually.ts";
import type { Attributes, FileSystemRequests } from "../../posix/requests.ts";
import type { NativeContext } from "./context.ts";
import { nameBytes, nameText, release, splitPath, withNode } from "./paths.ts";

/** What is done to a name in the directory `parent`. */
type InParent<T> = (parent: number, name: Uint8Array) => Eventually<T>;

export type NameOperations = Pick<
  Operations,
  "readdir" | "mknod" | "mkdir" | "symlink" | "link" | "unlink" | "rmdir" | "rename"
>;

export function nameOperations({ fs, caller, finish }: NativeContext): NameOperations {
  function inParent<T>(path: string, body: InParent<T>): Promise<T> {
    const { parent, name } = splitPath(path);
    return withNode(fs, parent, (ino) => body(ino, name));
  }

  /** Runs a creation in the parent of `path` and gives back the lookup it counted. */
  async function create(path: string, make: InParent<Attributes>): Promise<void> {
    const attributes = await inParent(path, make);
    release(fs, attributes.ino);
  }

  return {
    readdir: (path, done) => finish(() => withNode(fs, path, (ino) => listNames(fs, ino)), done),
    mknod: (path, mode, dev, done) => {
      const { major, minor } = decodeDevice(dev);
      finish(() => create(path, (parent, name) => fs.makeNode(parent, name, mode, major, minor, caller)), done);
    },
    mkdir: (path, mode, done) =>
      finish(() => create(path, (parent, name) => fs.makeDirectory(parent, name, mode, caller)), done),
    symlink: (target, path, done) =>
      finish(() => create(path, (parent, name) => fs.makeSymlink(parent, name, nameBytes(target), caller)), done),
    link: (from, to, done) =>
      finish(() => withNode(fs, from, (ino) => create(to, (parent, name) => fs.link(ino, parent, name, caller))), done),
    unlink: (path, done) => finish(() => inParent(path, (parent, name) => fs.unlink(parent, name, caller)), done),
    rmdir: (path, done) =>
      finish(() => inParent(path, (parent, name) => fs.removeDirectory(parent, name, caller)), done),
    rename: (from, to, done) =>
      finish(
        () =>
          inParent(from, (parent, name) =>
            inParent(to, (newParent, newName) => fs.rename(parent, name, newParent, newName, 0, caller)),
          ),
        done,
      ),
  };
}

function listNames(fs: FileSystemRequests, ino: number): Promise<string[]> {
  let names: string[] = [];
  const done = fs.readDirectory(
    ino,
    0,
    "none",
    () => {
      names = [];
    },
    (entry) => {
      // A name that is not UTF-8 would come out as another one; it is not shown at all.
      const text = nameText(entry.name);
      if (text !== undefined) names.push(text);
      return true;
    },
  );
  return Promise.resolve(done).then(() => names);
}
