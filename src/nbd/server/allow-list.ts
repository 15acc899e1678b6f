// Who may use what: rules of --allow. Without any, everybody who can connect may use everything.

import { BlockList, isIP } from "node:net";
import type { Visitor } from "./visitor.ts";

interface Rule {
  /** Whom it lets in: an address, or an identity. */
  readonly addresses: BlockList | undefined;
  readonly identity: string | undefined;
  /** What it lets them use; undefined for everything. */
  readonly exportName: string | undefined;
}

/** A rule makes no sense; the message names it. */
class AllowRuleError extends Error {
  override readonly name = "AllowRuleError";
}

export class AllowList {
  readonly #rules: readonly Rule[];

  /** Rules as given: an IP address, a network (192.0.2.0/24) or an identity, each with `=EXPORT` behind it to allow only that. */
  constructor(rules: readonly string[], exportNames: readonly string[]) {
    this.#rules = rules.map((rule) => parseRule(rule, exportNames));
  }

  /** Some rule asks for an identity, which only TLS can prove. */
  get asksForIdentity(): boolean {
    return this.#rules.some((rule) => rule.identity !== undefined);
  }

  /** Whether nobody may use the export without having proved who they are. */
  identifies(exportName: string): boolean {
    return this.#rulesFor(exportName).some((rule) => rule.identity !== undefined);
  }

  /**
   * Whether a visitor may use an export: from its address, where addresses are given for the export, and by its identity, where
   * identities are.
   */
  allows(visitor: Visitor, exportName: string): boolean {
    if (!this.allowsAddress(visitor, exportName)) return false;
    const identities = this.#rulesFor(exportName).flatMap((rule) => rule.identity ?? []);
    return identities.length === 0 || (visitor.identity !== undefined && identities.includes(visitor.identity));
  }

  /** Whether nothing but the visitor's identity, which may not be known yet, can speak against it. */
  allowsAddress({ address }: Visitor, exportName: string): boolean {
    const rules = this.#rulesFor(exportName);
    if (rules.length === 0) return this.#rules.length === 0;
    const lists = rules.flatMap((rule) => rule.addresses ?? []);
    if (lists.length === 0 || address === undefined) return true;
    return lists.some((list) => list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4"));
  }

  #rulesFor(exportName: string): Rule[] {
    return this.#rules.filter((rule) => rule.exportName === undefined || rule.exportName === exportName);
  }
}

function parseRule(text: string, exportNames: readonly string[]): Rule {
  const cut = text.lastIndexOf("=");
  const exportName = cut < 0 ? undefined : text.slice(cut + 1);
  const who = cut < 0 ? text : text.slice(0, cut);
  if (who === "") throw new AllowRuleError(`--allow ${text}: names nobody`);
  if (exportName !== undefined && !exportNames.includes(exportName))
    throw new AllowRuleError(`--allow ${text}: there is no export named ${exportName}`);
  const addresses = parseAddresses(who, text);
  return { addresses, identity: addresses === undefined ? who : undefined, exportName };
}

function parseAddresses(who: string, rule: string): BlockList | undefined {
  const [address = "", prefix, ...rest] = who.split("/");
  const version = isIP(address);
  if (version === 0) return undefined;
  const bits = version === 6 ? 128 : 32;
  if (rest.length > 0 || (prefix !== undefined && !(/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits)))
    throw new AllowRuleError(`--allow ${rule}: is no network`);
  const list = new BlockList();
  const family = version === 6 ? "ipv6" : "ipv4";
  if (prefix === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(prefix), family);
  return list;
}
