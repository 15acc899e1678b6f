// Targets on the network as people give them:
//
//   nbd://host[:port][,host[:port]...]/export      several addresses are several ways to one export
//   nbds://[identity@]host[:port].../export        the same over TLS
//   nbd+unix:///export?socket=PATH                 a unix socket; nbds+unix:// over TLS
//
// Parameters after `?` are named as other NBD programs name them: tls-psk-file, tls-certificates, tls-hostname, socket. Keys
// themselves are never part of a target, only the files that hold them. A target has one canonical text, by which it is
// known everywhere: paths in it are absolute, and `+`, `,` and the like in names are percent-encoded.

import { resolve } from "node:path";
import { socketPathRefusal } from "../base/socket-path.ts";
import { OpenError } from "../device/open-error.ts";
import { NBD_PORT, TEXT_MAX_BYTES } from "./wire/constants.ts";

export type RemoteAddress = { readonly host: string; readonly port: number } | { readonly socketPath: string };

export interface RemoteTarget {
  /** The canonical text. */
  readonly text: string;
  /** In the order given: with equal latency the first one is taken. */
  readonly addresses: readonly RemoteAddress[];
  readonly exportName: string;
  /** Undefined: not encrypted. */
  readonly tls: TlsParameters | undefined;
}

/** Which files prove who is who; read when a connection is made, so that they can be renewed. */
export interface TlsParameters {
  /** Who we are towards a server with pre-shared keys. */
  readonly identity: string | undefined;
  /** Lines of identity:hexadecimal-key. */
  readonly pskFile: string | undefined;
  /** Folder with ca-cert.pem and, where the server asks for them, client-cert.pem and client-key.pem. */
  readonly certificatesFolder: string | undefined;
  /** Name that the server's certificate must carry instead of the host's. */
  readonly hostname: string | undefined;
}

const SCHEME = /^nbd(s?)(\+unix)?:\/\//;
/** An address list that has not ended yet. */
const OPEN_ADDRESSES = /(^|\+)nbds?:\/\/[^/]*$/;
const PARAMETERS = ["socket", "tls-psk-file", "tls-certificates", "tls-hostname"] as const;
type Parameter = (typeof PARAMETERS)[number];

/** True for what {@link parseRemoteTarget} is for; everything else is a path. */
export const isRemoteTarget = (text: string): boolean => SCHEME.test(text);

/** The nodes of a row, which plus signs join: the one in `nbd+unix://` joins nothing. */
export function splitRow(target: string): string[] {
  const nodes: string[] = [];
  let scheme = "";
  for (const word of target.split("+")) {
    if (scheme !== "" && word.startsWith("unix://")) nodes[nodes.length - 1] = `${scheme}+${word}`;
    else nodes.push(word);
    scheme = word === "nbd" || word === "nbds" ? word : "";
  }
  return nodes;
}

/** The targets of a SPEC as fstab has it, joined by commas: those between the addresses of one target join nothing. */
export function splitSpec(spec: string): string[] {
  const targets: string[] = [];
  for (const word of spec.split(",")) {
    const last = targets.at(-1);
    if (last !== undefined && OPEN_ADDRESSES.test(last)) targets[targets.length - 1] = `${last},${word}`;
    else targets.push(word);
  }
  return targets;
}

/** Reads a target; relative paths in it are taken from the current folder. Throws OpenError EINVAL with one clear line. */
export function parseRemoteTarget(text: string): RemoteTarget {
  const refuse = (detail: string): never => {
    throw new OpenError(text, "open", "EINVAL", detail);
  };
  const scheme =
    SCHEME.exec(text) ?? refuse("is no NBD target; write nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH");
  const [rest = "", query = ""] = splitOnce(text.slice(scheme[0].length), "?");
  const [authority = "", rawName = ""] = splitOnce(rest, "/");
  const decoded = (word: string): string => {
    try {
      return decodeURIComponent(word);
    } catch {
      return refuse(`'${word}' is not percent-encoded as it should be`);
    }
  };
  const parameters = new Map<Parameter, string>();
  for (const item of query === "" ? [] : query.split("&")) {
    const [name = "", value = ""] = splitOnce(item, "=");
    const known =
      PARAMETERS.find((each) => each === name) ??
      refuse(`unknown parameter '${name}'; there are ${PARAMETERS.join(", ")}`);
    if (value === "") refuse(`parameter '${name}' needs a value`);
    parameters.set(known, decoded(value));
  }
  const usesTls = scheme[1] === "s";
  if (!usesTls && [...parameters.keys()].some((name) => name !== "socket"))
    refuse("TLS parameters go with nbds:// only");
  const at = authority.lastIndexOf("@");
  const identity = at < 0 ? undefined : decoded(authority.slice(0, at));
  if (identity !== undefined && (!usesTls || identity === ""))
    refuse("a user goes with nbds:// only, as in nbds://NAME@HOST/EXPORT");
  if (identity?.includes(":") === true) refuse("no password belongs here; name a file with tls-psk-file=PATH");
  const hosts = authority.slice(at + 1);
  const path = (name: Parameter): string | undefined => {
    const value = parameters.get(name);
    return value === undefined ? undefined : resolve(value);
  };
  let addresses: RemoteAddress[];
  if (scheme[2] === undefined) {
    if (parameters.has("socket")) refuse("socket= goes with nbd+unix:///EXPORT?socket=PATH");
    addresses = hosts.split(",").map((host) => parseHost(host, refuse));
    const texts = addresses.map(formatAddress);
    const twin = texts.find((each, i) => texts.indexOf(each) < i);
    if (twin !== undefined) refuse(`names ${twin} twice`);
  } else {
    if (hosts !== "") refuse("a unix socket has no host; write nbd+unix:///EXPORT?socket=PATH");
    const socketPath = path("socket") ?? refuse("needs a socket: nbd+unix:///EXPORT?socket=PATH");
    const refusal = socketPathRefusal(socketPath);
    if (refusal !== undefined) refuse(refusal);
    addresses = [{ socketPath }];
  }
  const target = {
    addresses,
    exportName: decoded(rawName),
    tls: usesTls
      ? {
          identity,
          pskFile: path("tls-psk-file"),
          certificatesFolder: path("tls-certificates"),
          hostname: parameters.get("tls-hostname"),
        }
      : undefined,
  };
  if (Buffer.byteLength(target.exportName) > TEXT_MAX_BYTES)
    refuse(`the name of its export is longer than ${TEXT_MAX_BYTES} bytes`);
  return { ...target, text: formatTarget(target) };
}

/** A name or an address, and perhaps a port. The zone of a link-local address comes after %25, as in any URL, or after a bare %. */
const HOST =
  /^(?:\[(?<v6>[0-9a-fA-F:.]+)(?:%(?:25)?(?<zone>[\w.-]+))?\]|(?<name>[^\s:[\]/?#@]+))(?::(?<digits>\d{1,5}))?$/;

function parseHost(text: string, refuse: (detail: string) => never): RemoteAddress {
  const { v6, zone, name, digits } = HOST.exec(text)?.groups ?? {};
  const host = v6 === undefined || zone === undefined ? (v6 ?? name) : `${v6}%${zone}`;
  const port = digits === undefined ? NBD_PORT : Number(digits);
  if (host === undefined || port < 1 || port > 65535)
    return refuse(`'${text}' is no address; write HOST, HOST:PORT or [IPV6]:PORT`);
  return { host, port };
}

/** As it is written in a target; a unix socket by its path. */
export function formatAddress(address: RemoteAddress): string {
  if ("socketPath" in address) return address.socketPath;
  const host = address.host.includes(":") ? `[${address.host.replace("%", "%25")}]` : address.host;
  return address.port === NBD_PORT ? host : `${host}:${address.port}`;
}

function formatTarget({ addresses, exportName, tls }: Omit<RemoteTarget, "text">): string {
  const [first] = addresses;
  const socketPath = first !== undefined && "socketPath" in first ? first.socketPath : undefined;
  const values: Record<Parameter, string | undefined> = {
    socket: socketPath,
    "tls-psk-file": tls?.pskFile,
    "tls-certificates": tls?.certificatesFolder,
    "tls-hostname": tls?.hostname,
  };
  const query = PARAMETERS.flatMap((name) => {
    const value = values[name];
    return value === undefined ? [] : [`${name}=${encoded(value)}`];
  }).join("&");
  const scheme = `nbd${tls === undefined ? "" : "s"}${socketPath === undefined ? "" : "+unix"}`;
  const user = tls?.identity === undefined ? "" : `${encodeURIComponent(tls.identity)}@`;
  const hosts = socketPath === undefined ? addresses.map(formatAddress).join(",") : "";
  return `${scheme}://${user}${hosts}/${encoded(exportName)}${query === "" ? "" : `?${query}`}`;
}

/** Percent-encoded, slashes left readable: for what comes after the one that ends the addresses. */
const encoded = (text: string): string => encodeURIComponent(text).replaceAll("%2F", "/");

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}
