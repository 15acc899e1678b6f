// LIST_META_CONTEXT and SET_META_CONTEXT: base:allocation, and the context by which a client says who it is.

import { BASE_ALLOCATION, Option, OptionReply } from "../wire/constants.ts";
import { decodeLeaseContext, LEASE_NAMESPACE } from "../wire/lease-context.ts";
import { decodeMetaContextQuery } from "../wire/option.ts";
import { encodeMetaContext } from "../wire/option-reply.ts";
import type { Agreed, Negotiation, Refusal, Reply, SelectedContext } from "./agreement.ts";
import type { Export } from "./export.ts";
import { ownerOf, type Visitor } from "./visitor.ts";

const ALLOCATION: SelectedContext = { id: 0, name: BASE_ALLOCATION, lease: undefined };
/** Readers have no lease. */
const READER_ID = 1;

/** Answers either option; gives the refusal to send where it says no. */
export function answerMetaContexts(
  { catalogue, visitor }: Negotiation,
  agreed: Agreed,
  option: typeof Option.LIST_META_CONTEXT | typeof Option.SET_META_CONTEXT,
  data: Uint8Array,
  reply: Reply,
): Refusal | undefined {
  const isSet = option === Option.SET_META_CONTEXT;
  // Whatever becomes of it, it takes the place of what was selected before.
  if (isSet) agreed.contexts = undefined;
  const { exportName, queries } = decodeMetaContextQuery(data);
  if (!agreed.structured)
    return { type: OptionReply.ERR_INVALID, message: "meta contexts need structured replies first" };
  const found = catalogue.find(exportName, visitor);
  if (found === undefined) return { type: OptionReply.ERR_UNKNOWN, message: "there is no such export" };
  const contexts = isSet ? selectedBy(queries, found, visitor) : listedFor(queries);
  if (contexts === undefined)
    return { type: OptionReply.ERR_INVALID, message: "give one owner, as h2ts:owner=TOKEN/SLOT, or h2ts:reader" };
  if (isSet) agreed.contexts = { exportName, selected: contexts };
  for (const { id, name } of contexts) reply(OptionReply.META_CONTEXT, encodeMetaContext({ id: isSet ? id : 0, name }));
  reply(OptionReply.ACK);
  return undefined;
}

/** Contexts that are asked for and known; undefined when what is said about the lease makes no sense. */
function selectedBy(queries: readonly string[], found: Export, visitor: Visitor): SelectedContext[] | undefined {
  const leases = [...new Set(queries)].filter((query) => query.startsWith(LEASE_NAMESPACE));
  const [name] = leases;
  const lease = name === undefined ? undefined : decodeLeaseContext(name);
  if (leases.length > 1 || (name !== undefined && lease === undefined)) return undefined;
  const selected = queries.includes(BASE_ALLOCATION) ? [ALLOCATION] : [];
  if (name === undefined) return selected;
  const id = lease?.kind === "owner" ? found.lease.numberFor(ownerOf(lease.owner, visitor)) : READER_ID;
  return [...selected, { id, name, lease }];
}

function listedFor(queries: readonly string[]): SelectedContext[] {
  return queries.length === 0 || queries.includes("base:") || queries.includes(BASE_ALLOCATION) ? [ALLOCATION] : [];
}
