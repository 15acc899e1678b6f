// Finds the node a path names, one lookup per component, and gives every lookup back. libfuse 2 speaks in paths only.

import { FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import { ROOT_INO } from "../../format/pfs.ts";
import type { Attributes, FileSystemRequests } from "../../posix/requests.ts";

const EILSEQ = 84;
/** What fuse-native makes of bytes that are not UTF-8; such a name can't be told from another, so it is refused. */
const REPLACEMENT = "\ufffd";

const encoder = new TextEncoder();

/** A refusal with an errno that is not among the filesystem's own. */
export class NameError extends Error {
  override readonly name = "NameError";
  readonly errno = EILSEQ;
}

/** The bytes of one name; refuses what is not UTF-8. */
export function nameBytes(name: string): Uint8Array {
  if (name.includes(REPLACEMENT)) throw new NameError("the name is not UTF-8");
  return encoder.encode(name);
}

/** The text of a name, or undefined when it is not UTF-8 and so can't be shown through this transport. */
export function nameText(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  return text.includes(REPLACEMENT) ? undefined : text;
}

function components(path: string): string[] {
  return path.split("/").filter((component) => component !== "");
}

/** Splits a path into its parent's path and its own name. */
export function splitPath(path: string): { parent: string; name: Uint8Array } {
  const slash = path.lastIndexOf("/");
  return { parent: path.slice(0, slash), name: nameBytes(path.slice(slash + 1)) };
}

/** Attributes of the node at `path`, of which one lookup is then held (none of the root). */
export async function resolvePath(fs: FileSystemRequests, path: string): Promise<Attributes> {
  let found: Attributes | undefined;
  for (const component of components(path)) {
    const parent = found?.ino ?? ROOT_INO;
    try {
      found = await fs.lookup(parent, nameBytes(component));
    } finally {
      release(fs, parent);
    }
    if (found === undefined) throw new FsError("ENOENT");
  }
  return found ?? (await fs.getAttributes(ROOT_INO));
}

/** Gives back the lookup that `resolvePath` or a creation took. */
export function release(fs: FileSystemRequests, ino: number): void {
  if (ino !== ROOT_INO) fs.forget(ino, 1);
}

/** Runs `body` with the node at `path`, which stays known as long as it runs. */
export async function withNode<T>(
  fs: FileSystemRequests,
  path: string,
  body: (ino: number, attributes: Attributes) => Eventually<T>,
): Promise<T> {
  const attributes = await resolvePath(fs, path);
  try {
    return await body(attributes.ino, attributes);
  } finally {
    release(fs, attributes.ino);
  }
}
