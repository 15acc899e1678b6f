// Preparing devices for a copy that joins a volume in use. A copy has a new UUID, which every root is sealed with, so a
// root that lay there before is never taken for one of its own; its ring is wiped before the volume knows it.

import { CopiesError } from "./errors.ts";
import { assembleCopies } from "./assemble.ts";
import type { Copy } from "./copy.ts";
import type { CopySetOptions } from "./copy-set.ts";
import { type LayoutIdentity, planLayout, writeHeaders } from "./layout.ts";
import { wipeRing } from "./ring-set.ts";
import type { OpenTarget } from "./targets.ts";

/** Makes copy `index` of the devices of `target`, with an empty ring. What they held is lost. Throws DeviceError, CopiesError. */
export async function prepareCopy(
  target: OpenTarget,
  index: number,
  identity: LayoutIdentity,
  options: Pick<CopySetOptions, "clock"> = {},
): Promise<Copy> {
  const { name, devices } = target;
  const [headers] = planLayout([{ name, nodes: devices, copies: 1 }], identity, index);
  if (headers === undefined) throw new CopiesError("syntax", name, "names no device");
  await writeHeaders(devices, headers);
  const [copy] = (await assembleCopies([target], options)).copies;
  if (copy === undefined) throw new CopiesError("missing-node", name, "is not a whole row");
  await wipeRing(copy);
  if (copy.failure !== undefined) throw copy.failure;
  return copy;
}
