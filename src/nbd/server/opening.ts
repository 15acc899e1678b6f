// INFO and GO: telling about an export, and opening it for whoever may have it.

import { Info, OptionReply, TransmissionFlag } from "../wire/constants.ts";
import { encodeInfo } from "../wire/info.ts";
import { FIRST_SLOT } from "../wire/lease-context.ts";
import { decodeExportQuery } from "../wire/option.ts";
import type { Export } from "./export.ts";
import { type Admission, type Claim, LeaseRefused } from "./lease.ts";
import type { Agreed, Negotiation, OpenExport, Refusal, Reply, SelectedContext } from "./agreement.ts";
import { ownerOf } from "./visitor.ts";

type Opened = { readonly opened: OpenExport } | { readonly refusal: Refusal };

const AWAY: Refusal = {
  type: OptionReply.ERR_POLICY,
  message: "the server that this export is on is away; it is opened again as soon as it answers",
};

/** Opens an export under its lease; what may have to wait until connections it takes the place of are over. */
export async function admit(negotiation: Negotiation, agreed: Agreed, name: string): Promise<Opened> {
  const { catalogue, visitor, holder } = negotiation;
  const found = catalogue.find(name, visitor);
  if (found === undefined) return { refusal: { type: OptionReply.ERR_UNKNOWN, message: "there is no such export" } };
  if (negotiation.isDraining())
    return { refusal: { type: OptionReply.ERR_SHUTDOWN, message: "the server is shutting down" } };
  if (found.isAway) return { refusal: AWAY };
  const { device, flushFailures } = found;
  const contexts = agreed.contexts?.exportName === name ? agreed.contexts.selected : [];
  const claim = claimOf(negotiation, found, contexts);
  // An owner takes the place of its own connections.
  const takesPlace = claim.kind === "owner" && claim.slot === FIRST_SLOT && found.lease.isHeldBy(claim.owner);
  if (!negotiation.hasRoom() && !takesPlace) {
    negotiation.log("refused: there are as many open exports as there may be");
    return {
      refusal: { type: OptionReply.ERR_POLICY, message: "the server has all the connections that it may have" },
    };
  }
  let admission: Admission;
  try {
    admission = found.lease.claim(claim, holder);
  } catch (error) {
    if (!(error instanceof LeaseRefused)) throw error;
    negotiation.log(`refused: export "${found.name}" ${error.message}`);
    return { refusal: { type: OptionReply.ERR_POLICY, message: `export "${found.name}" ${error.message}` } };
  }
  const flags = flagsFor(found, claim, agreed);
  negotiation.admitted(admission);
  // Where the device hangs that may be never: whoever gives up waiting leaves, and is in nobody's way.
  await Promise.race([admission.ready, negotiation.gone]);
  const readOnly = (flags & TransmissionFlag.READ_ONLY) !== 0;
  const { structured } = agreed;
  return { opened: { export: found, device, flushFailures, readOnly, structured, contexts, flags, admission } };
}

function claimOf({ visitor }: Negotiation, found: Export, contexts: readonly SelectedContext[]): Claim {
  const context = contexts.find(({ lease }) => lease !== undefined);
  const asked = context?.lease;
  if (found.readOnly || asked?.kind === "reader") return { kind: "reader" };
  if (context === undefined || asked === undefined) return { kind: "writer" };
  return { kind: "owner", owner: ownerOf(asked.owner, visitor), slot: asked.slot, lease: context.id };
}

function flagsFor(found: Export, claim: Claim, { structured }: Agreed): number {
  return found.flagsFor({ readOnly: claim.kind === "reader", several: claim.kind !== "writer", structured });
}

/** Answers INFO, and GO if `open`. */
export async function answerQuery(
  negotiation: Negotiation,
  agreed: Agreed,
  open: boolean,
  data: Uint8Array,
  reply: Reply,
): Promise<Opened | { readonly told: true }> {
  const { exportName, infoTypes } = decodeExportQuery(data);
  const found = negotiation.catalogue.find(exportName, negotiation.visitor);
  if (found === undefined) return { refusal: { type: OptionReply.ERR_UNKNOWN, message: "there is no such export" } };
  if (found.isAway) return { refusal: AWAY };
  const admitted = open ? await admit(negotiation, agreed, exportName) : { told: true as const };
  if ("refusal" in admitted) return admitted;
  const contexts = agreed.contexts?.exportName === exportName ? agreed.contexts.selected : [];
  const flags =
    "opened" in admitted ? admitted.opened.flags : flagsFor(found, claimOf(negotiation, found, contexts), agreed);
  reply(OptionReply.INFO, encodeInfo({ type: Info.EXPORT, sizeBytes: found.device.sizeBytes, flags }));
  reply(OptionReply.INFO, encodeInfo({ type: Info.BLOCK_SIZE, ...found.blockSizes }));
  if (infoTypes.includes(Info.NAME)) reply(OptionReply.INFO, encodeInfo({ type: Info.NAME, text: found.name }));
  if (infoTypes.includes(Info.DESCRIPTION))
    reply(OptionReply.INFO, encodeInfo({ type: Info.DESCRIPTION, text: found.description }));
  reply(OptionReply.ACK);
  return admitted;
}
