// Extended attributes by path. Names are latin1 text on our side (one character per byte) and UTF-8 text on fuse-native's.

import type { Operations } from "fuse-native";
import { FsError } from "../../base/errno.ts";
import { type NativeContext, plain } from "./context.ts";
import { nameBytes, nameText, withNode } from "./paths.ts";

function xattrName(name: string): string {
  return Buffer.from(nameBytes(name)).toString("latin1");
}

export type XattrOperations = Pick<Operations, "setxattr" | "getxattr" | "listxattr" | "removexattr">;

export function xattrOperations({ fs, caller, finish }: NativeContext): XattrOperations {
  return {
    setxattr: (path, name, value, _position, flags, done) =>
      finish(
        () => withNode(fs, path, (ino) => fs.setXattr(ino, xattrName(name), plain(value), flags, caller, false)),
        done,
      ),
    getxattr: (path, name, _position, done) =>
      finish(async () => {
        const value = await withNode(fs, path, (ino) => fs.getXattr(ino, xattrName(name)));
        if (value === undefined) throw new FsError("ENODATA");
        return Buffer.from(value.buffer, value.byteOffset, value.length);
      }, done),
    listxattr: (path, done) =>
      finish(async () => {
        const names = await withNode(fs, path, (ino) => fs.listXattrs(ino));
        return names.map((name) => nameText(Buffer.from(name, "latin1"))).filter((name) => name !== undefined);
      }, done),
    removexattr: (path, name, done) =>
      finish(() => withNode(fs, path, (ino) => fs.removeXattr(ino, xattrName(name), caller)), done),
  };
}
