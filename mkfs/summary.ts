// Says what was made, or would be.

import { formatByteSize } from "../src/base/byte-size.ts";
import { formatUuid, type Uuid } from "../src/base/uuid.ts";
import type { MkfsOptions } from "./options.ts";
import type { PlannedTarget } from "./plan.ts";

/** The lines printed without -q. */
export function summaryText(options: MkfsOptions, volumeUuid: Uuid, plan: readonly PlannedTarget[]): string {
  const copies = plan.reduce((sum, target) => sum + target.copies, 0);
  const title = options.label === "" ? formatUuid(volumeUuid) : `${options.label} (${formatUuid(volumeUuid)})`;
  const lines = [
    `${options.dryRun ? "would make" : "made"} h2ts volume ${title}`,
    `${copies} ${copies === 1 ? "copy" : "copies"}, check ${options.checkName}`,
  ];
  let index = 0;
  for (const target of plan) {
    for (let i = 0; i < target.copies; i++)
      lines.push(`  copy ${index++}: ${target.nodes.map(nodeText).join(" + ")}${shareText(target)}`);
  }
  if (options.dryRun) lines.push("nothing was changed");
  return lines.join("\n");
}

function nodeText(node: PlannedTarget["nodes"][number]): string {
  const over = node.overwrites === undefined ? "" : `, overwrites ${node.overwrites}`;
  return `${node.path} (${node.kind}, ${formatByteSize(node.sizeBytes)}${over})`;
}

const shareText = (target: PlannedTarget): string => (target.copies === 1 ? "" : `, 1/${target.copies} of it`);
