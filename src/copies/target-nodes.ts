// The nodes that a target names, and the targets of a SPEC. Opens nothing.

import { existsSync } from "node:fs";
import { splitRow, splitSpec } from "../nbd/target.ts";
import { CopiesError } from "./errors.ts";

/** What Node puts in the place of bytes of a word that are not UTF-8: which they were is lost. */
const REPLACED = "\uFFFD";

/**
 * Splits a target into its nodes. A path that exists is taken as it is, even with a plus sign in it. Refused is one that may have been
 * another name, so that no file is made, or taken, by a name that nobody gave.
 */
export function nodesOf(target: string): string[] {
  const nodes = nodesIn(target, existsSync(target));
  const unsure = nodes.find((node) => node.includes(REPLACED) && !existsSync(node));
  if (unsure === undefined) return nodes;
  throw new CopiesError("syntax", unsure, "its name is not UTF-8, and can't be told from others; give it another name");
}

/** As {@link nodesOf}, for who knows whether there is such a path. */
export function nodesIn(target: string, exists: boolean): string[] {
  if (target === "") throw new CopiesError("syntax", "target", "is empty; give an image file or a block device");
  if (exists) return [target];
  const nodes = splitRow(target);
  if (nodes.includes("")) throw new CopiesError("syntax", target, "a node between the plus signs has no name");
  return nodes;
}

/** Splits a SPEC into its targets. A path that exists, or a row of those, is taken as it is, even with a comma in it. */
export function targetsOf(spec: string): string[] {
  const isOne = existsSync(spec) || splitRow(spec).every((node) => existsSync(node));
  return isOne ? [spec] : splitSpec(spec);
}

/** Why a node, by its path or URL, can't be one of a row: told apart from the others again it would be two. Undefined when it can. */
export function rowRefusal(node: string): CopiesError | undefined {
  if (splitRow(node).length === 1) return undefined;
  const detail = "has a plus sign in its path, as joins the nodes of a row; one of them can't have that: rename it";
  return new CopiesError("syntax", node, detail);
}

/** As {@link nodesOf}, of a target that a volume is open on: never refused, as its file may be gone by now. */
export function nodesInUse(target: string): string[] {
  const nodes = splitRow(target);
  return nodes.length > 1 && existsSync(target) ? [target] : nodes;
}
