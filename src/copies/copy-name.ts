// How people name a copy: by its index, or by the beginning of its UUID. A node of it: by its position in the row, "1/0".

import { formatUuid, type Uuid } from "../base/uuid.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { CopiesError } from "./errors.ts";

export interface NamedCopy {
  readonly index: number;
  readonly uuid: Uuid;
}

/** Those among `copies` that `name` means. */
export function copiesNamed(name: string, copies: readonly NamedCopy[]): NamedCopy[] {
  const word = name.toLowerCase();
  const byIndex = /^[0-7]$/.test(word);
  return copies.filter(({ index, uuid }) =>
    byIndex ? index === Number(word) : word !== "" && formatUuid(uuid).startsWith(word),
  );
}

/** Index of the one copy among `copies` that `name` means. Throws CopiesError when it means none, or several. */
export function copyNamed(name: string, copies: readonly NamedCopy[]): number {
  const found = copiesNamed(name, copies);
  const [only] = found;
  if (only !== undefined && found.length === 1) return only.index;
  const known = copies.map(({ index, uuid }) => `${index} (${formatUuid(uuid).slice(0, 8)}…)`).join(", ");
  const what = found.length === 0 ? "is no copy of this volume" : "means several copies";
  throw new CopiesError("syntax", `copy '${name}'`, `${what}; it has ${known}`);
}

/** The copy that `name` means, and the position of one of its nodes if that follows a slash. Throws CopiesError. */
export function copyOrNodeNamed(
  name: string,
  copies: readonly NamedCopy[],
): { readonly index: number; readonly node: number | undefined } {
  const [copy = "", node, ...more] = name.split("/");
  if (more.length > 0 || (node !== undefined && !/^\d{1,3}$/.test(node)))
    throw new CopiesError("syntax", `copy '${name}'`, "is no COPY/NODE, as 1/0 is");
  return { index: copyNamed(copy, copies), node: node === undefined ? undefined : Number(node) };
}

/** Every copy the volume has, present or not, as its root names them. */
export function membersOf(root: DataView): NamedCopy[] {
  const members: NamedCopy[] = [];
  for (let index = 0; index < COPIES_MAX; index++) {
    const seen = rootLastSeen(root, index);
    if (seen !== undefined) members.push({ index, uuid: seen.copyUuid });
  }
  return members;
}
