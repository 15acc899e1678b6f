// What `h2ts export` was asked for, checked before anything is opened: which target under which name, where to listen, keys.

import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { UsageError } from "../base/usage-error.ts";
import { nodesOf } from "../copies/target-nodes.ts";
import { TIMEOUT_MS_DEFAULT } from "../nbd/client/policy.ts";
import { AllowList } from "../nbd/server/allow-list.ts";
import { DEFAULT_LIMITS, type ServerLimits } from "../nbd/server/limits.ts";
import { isLocal, type ListenAddress, parseListenAddress } from "../nbd/server/listen-address.ts";
import { readPskFile } from "../nbd/server/psk-file.ts";
import { type TlsKeys, tlsOptionsOf } from "../nbd/server/tls.ts";
import { TEXT_MAX_BYTES } from "../nbd/wire/constants.ts";
import { createSecureContext } from "node:tls";

export interface ExportFlags {
  readonly listen: readonly string[];
  readonly allow: readonly string[];
  readonly readOnly?: boolean;
  readonly tls?: string;
  readonly pskFile?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly lease?: string;
  readonly connections?: string;
  readonly requests?: string;
  readonly nbdTimeout?: string;
}

export interface NamedTarget {
  readonly name: string;
  readonly target: string;
  /** Nodes of its row. */
  readonly nodes: number;
}

export interface ExportPlan {
  readonly exports: readonly NamedTarget[];
  readonly addresses: readonly ListenAddress[];
  readonly allowList: AllowList;
  readonly tls: TlsKeys | undefined;
  /** Who has no TLS is let in, too. */
  readonly plaintextAllowed: boolean;
  readonly limits: ServerLimits;
  readonly readOnly: boolean;
  /** How long a request to a remote node may go without an answer. */
  readonly remoteTimeoutMs: number;
}

const DEFAULT_LISTEN = "127.0.0.1";
const TLS_MODES = ["require", "allow", "off"] as const;

/** Throws UsageError, or the typed error of what is wrong. `warn` is told what the operator should know. */
export function planExport(words: readonly string[], flags: ExportFlags, warn: (line: string) => void): ExportPlan {
  if (words.length === 0) throw new UsageError("give a target: h2ts export [OPTIONS] [NAME=]TARGET...");
  const exports = words.map(namedTarget);
  const names = exports.map(({ name }) => name);
  const twin = names.find((name, i) => names.indexOf(name) < i);
  if (twin !== undefined) throw new UsageError(`two exports would be named ${twin}; name one of them with NAME=TARGET`);
  const addresses = (flags.listen.length === 0 ? [DEFAULT_LISTEN] : flags.listen).map(parseListenAddress);
  const allowList = new AllowList(flags.allow, names);
  const mode = tlsModeOf(flags);
  const tls = mode === "off" ? undefined : keysOf(flags, warn);
  if (mode !== "off" && tls === undefined)
    throw new UsageError(`--tls ${mode} needs keys: --psk-file, or --tls-cert and --tls-key`);
  const plaintextAllowed = mode === "allow";
  if (allowList.asksForIdentity && tls?.psk === undefined && tls?.ca === undefined)
    throw new UsageError("--allow names an identity, which only --psk-file or --tls-ca can prove");
  // Who proves a key is known, and who has none is let in all the same.
  const open = names.find((name) => !allowList.identifies(name));
  const isOpenInTls = tls?.psk !== undefined && tls.certificate !== undefined && tls.ca === undefined;
  if (isOpenInTls && !plaintextAllowed && open !== undefined)
    throw new UsageError(
      `--tls-cert beside --psk-file lets in whoever has no key; give --tls-ca, or --allow IDENTITY=${open}`,
    );
  if (!addresses.every(isLocal)) {
    const what = "anybody on the network can read what passes, and change it";
    if (tls === undefined) warn(`${what}: there is no TLS (--psk-file, --tls-cert)`);
    else if (plaintextAllowed) warn(`${what}, where a client does not ask for TLS (--tls require)`);
  }
  const limits: ServerLimits = {
    ...DEFAULT_LIMITS,
    leaseMs: numberOf("--lease", flags.lease, 0, 3600, DEFAULT_LIMITS.leaseMs / 1000) * 1000,
    connectionsMax: numberOf("--connections", flags.connections, 1, 10_000, DEFAULT_LIMITS.connectionsMax),
    requestsMax: numberOf("--requests", flags.requests, 1, 1024, DEFAULT_LIMITS.requestsMax),
  };
  const remoteTimeoutMs = numberOf("--nbd-timeout", flags.nbdTimeout, 100, 86_400_000, TIMEOUT_MS_DEFAULT);
  const readOnly = flags.readOnly === true;
  return { exports, addresses, allowList, tls, plaintextAllowed, limits, readOnly, remoteTimeoutMs };
}

/** `NAME=TARGET`, or a target that is named after its first node. A path that exists is taken as it is. */
function namedTarget(word: string): NamedTarget {
  const [, given, rest] = existsSync(word) ? [] : (/^([^/=+:]+)=(.+)$/.exec(word) ?? []);
  const target = rest ?? word;
  const paths = nodesOf(target);
  const name = given ?? basename(paths[0] as string);
  if (Buffer.byteLength(name) > TEXT_MAX_BYTES) throw new UsageError(`${name.slice(0, 40)}…: the name is too long`);
  return { name, target, nodes: paths.length };
}

/** Without a word of it, TLS is required where there are keys. */
function tlsModeOf({ tls, pskFile, tlsCert, tlsKey, tlsCa }: ExportFlags): (typeof TLS_MODES)[number] {
  const hasKeys = [pskFile, tlsCert, tlsKey, tlsCa].some((file) => file !== undefined);
  if (tls === undefined) return hasKeys ? "require" : "off";
  const mode = TLS_MODES.find((each) => each === tls);
  if (mode === undefined) throw new UsageError(`--tls ${tls}: give one of ${TLS_MODES.join(", ")}`);
  return mode;
}

function keysOf({ pskFile, tlsCert, tlsKey, tlsCa }: ExportFlags, warn: (line: string) => void): TlsKeys | undefined {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError("--tls-cert and --tls-key belong together");
  if (tlsCa !== undefined && tlsCert === undefined) throw new UsageError("--tls-ca needs --tls-cert and --tls-key");
  if (pskFile === undefined && tlsCert === undefined) return undefined;
  const keys: TlsKeys = {
    psk: pskFile === undefined ? undefined : readPskFile(pskFile, warn),
    certificate: tlsCert === undefined ? undefined : readPem(tlsCert),
    privateKey: tlsKey === undefined ? undefined : readPem(tlsKey),
    ca: tlsCa === undefined ? undefined : readPem(tlsCa),
  };
  try {
    createSecureContext(tlsOptionsOf(keys));
  } catch (error) {
    // OpenSSL's words name no content.
    throw new UsageError(`the TLS files can't be used: ${(error as NodeJS.ErrnoException).code ?? "unknown reason"}`);
  }
  return keys;
}

function readPem(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`${path}: can't be read: ${(error as NodeJS.ErrnoException).code ?? "unknown error"}`);
  }
  // An empty one would be taken for none at all, and a missing CA for "any known to Node".
  if (!text.includes("-----BEGIN ")) throw new UsageError(`${path}: is no PEM file`);
  return text;
}

function numberOf(option: string, text: string | undefined, min: number, max: number, fallback: number): number {
  if (text === undefined) return fallback;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) throw new UsageError(`${option} ${text}: give a number from ${min} to ${max}`);
  return value;
}
