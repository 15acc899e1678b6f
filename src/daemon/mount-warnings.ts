// What a mount that succeeded warns of: copies that are not in sync, a kernel that can't do all that is wanted of it.

import { InitFlag2 } from "../fuse/kernel/abi.ts";
import type { Negotiated } from "../fuse/kernel/negotiation.ts";
import type { VolumeReport } from "./volume-report.ts";

/** One line when the volume comes up degraded, naming every copy concerned; and why targets given were left out. */
export function mountWarnings(report: VolumeReport, absent: readonly string[]): string[] {
  if (report.state !== "DEGRADED") return absent.map((line) => `${line}; left out`);
  const copies = report.copies
    .filter(({ state }) => state !== "ONLINE")
    .map(({ index, state, targets, note }) => {
      const where = targets.length === 0 ? "" : ` (${targets.join("+")})`;
      return `copy ${index}${where} is ${state}${note === undefined ? "" : `: ${note}`}`;
    });
  const leftOut = absent.map((line) => ` (${line})`).join("");
  return [`mounted degraded: ${copies.join("; ")}${leftOut}; h2ts status tells more`];
}

/** What this kernel can't do that matters: without sending requests again nobody can take a mount over. */
export function kernelWarnings(agreed: Negotiated): string[] {
  if ((agreed.flags2 & InitFlag2.HAS_RESEND) !== 0) return [];
  return ["this kernel does not send requests again (Linux 6.9 does): should the worker die, the mount is taken down"];
}
