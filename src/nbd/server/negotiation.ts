// The negotiation phase of one connection: options are answered until one opens an export, or ends or secures the connection.
// All that was agreed on lives in one object, which is thrown away when TLS begins.
// Invariants: I12 (every option is bounded), no plaintext where TLS is asked for.

import { Option, OptionReply } from "../wire/constants.ts";
import { NbdProtocolError } from "../wire/errors.ts";
import { decodeExportName, decodeOptionHeader, OPTION_HEADER_BYTES } from "../wire/option.ts";
import { encodeExportNameReply, encodeListedExport, encodeOptionReply, encodeRefusal } from "../wire/option-reply.ts";
import type { Agreed, Negotiation, OpenExport, Refusal, Reply } from "./agreement.ts";
import { OPTION_DATA_MAX_BYTES } from "./limits.ts";
import { answerMetaContexts } from "./meta-contexts.ts";
import { admit, answerQuery } from "./opening.ts";

export type Negotiated =
  | { readonly kind: "open"; readonly opened: OpenExport }
  | { readonly kind: "secure" }
  | { readonly kind: "ended" };

/** Answers options until the phase is over. Throws NbdProtocolError and NbdClosedError. */
export async function negotiate(negotiation: Negotiation): Promise<Negotiated> {
  const { source, sink } = negotiation;
  const agreed: Agreed = { structured: false, contexts: undefined };
  for (;;) {
    const { option, lengthBytes } = decodeOptionHeader(await source.take(OPTION_HEADER_BYTES, "option"));
    const reply: Reply = (type, payload) => sink.send(encodeOptionReply(option, type, payload));
    const refuse = ({ type, message }: Refusal): void => reply(type, encodeRefusal(message));
    if (lengthBytes > OPTION_DATA_MAX_BYTES) {
      await source.skip(lengthBytes, "data of an option");
      if (option === Option.EXPORT_NAME) throw new NbdProtocolError("option EXPORT_NAME", "a name that is too long");
      refuse({ type: OptionReply.ERR_TOO_BIG, message: `more than ${OPTION_DATA_MAX_BYTES} bytes of data` });
      continue;
    }
    // A copy: what was agreed on must not keep what came with it in memory.
    const data = (await source.take(lengthBytes, "data of an option")).slice();
    const outcome = await answer(negotiation, agreed, option, data, reply, refuse).catch((error: unknown) => {
      // EXPORT_NAME has no reply that says no.
      if (!(error instanceof NbdProtocolError) || option === Option.EXPORT_NAME) throw error;
      refuse({ type: OptionReply.ERR_INVALID, message: error.message });
      return undefined;
    });
    await sink.drained("reply to an option");
    if (outcome !== undefined) return outcome;
  }
}

async function answer(
  negotiation: Negotiation,
  agreed: Agreed,
  option: number,
  data: Uint8Array,
  reply: Reply,
  refuse: (refusal: Refusal) => void,
): Promise<Negotiated | undefined> {
  if (option === Option.ABORT) {
    reply(OptionReply.ACK);
    return { kind: "ended" };
  }
  if (option === Option.STARTTLS) return startTls(negotiation, data, reply, refuse);
  if (negotiation.tls === "required") {
    if (option === Option.EXPORT_NAME)
      throw new NbdProtocolError("option EXPORT_NAME", "in plaintext; TLS is required");
    refuse({ type: OptionReply.ERR_TLS_REQD, message: "TLS is required here" });
    return undefined;
  }
  switch (option) {
    case Option.EXPORT_NAME:
      return { kind: "open", opened: await openByName(negotiation, agreed, data) };
    case Option.LIST:
      list(negotiation, data, reply);
      return undefined;
    case Option.STRUCTURED_REPLY:
      if (data.length > 0) throw new NbdProtocolError("option STRUCTURED_REPLY", "has data");
      agreed.structured = true;
      reply(OptionReply.ACK);
      return undefined;
    case Option.INFO:
    case Option.GO: {
      const answered = await answerQuery(negotiation, agreed, option === Option.GO, data, reply);
      if ("refusal" in answered) refuse(answered.refusal);
      return "opened" in answered ? { kind: "open", opened: answered.opened } : undefined;
    }
    case Option.LIST_META_CONTEXT:
    case Option.SET_META_CONTEXT: {
      const refusal = answerMetaContexts(negotiation, agreed, option, data, reply);
      if (refusal !== undefined) refuse(refusal);
      return undefined;
    }
    default:
      refuse({ type: OptionReply.ERR_UNSUP, message: `option ${option} is not spoken here` });
      return undefined;
  }
}

function startTls(
  { tls }: Negotiation,
  data: Uint8Array,
  reply: Reply,
  refuse: (refusal: Refusal) => void,
): Negotiated | undefined {
  if (data.length > 0) throw new NbdProtocolError("option STARTTLS", "has data");
  if (tls === "required" || tls === "allowed") {
    reply(OptionReply.ACK);
    return { kind: "secure" };
  }
  if (tls === "begun") refuse({ type: OptionReply.ERR_INVALID, message: "TLS has begun already" });
  else refuse({ type: OptionReply.ERR_POLICY, message: "there is no TLS here" });
  return undefined;
}

function list({ catalogue, visitor }: Negotiation, data: Uint8Array, reply: Reply): void {
  if (data.length > 0) throw new NbdProtocolError("option LIST", "has data");
  for (const { name } of catalogue.visibleTo(visitor))
    reply(OptionReply.SERVER, encodeListedExport({ name, details: "" }));
  reply(OptionReply.ACK);
}

/** The old way to open an export: there is no reply but the size, so whoever may not have it is hung up on. */
async function openByName(negotiation: Negotiation, agreed: Agreed, data: Uint8Array): Promise<OpenExport> {
  const admitted = await admit(negotiation, agreed, decodeExportName(data));
  if ("refusal" in admitted) throw new NbdProtocolError("option EXPORT_NAME", admitted.refusal.message);
  const { opened } = admitted;
  negotiation.sink.send(
    encodeExportNameReply({ sizeBytes: opened.device.sizeBytes, flags: opened.flags }, negotiation.noZeroes),
  );
  return opened;
}
