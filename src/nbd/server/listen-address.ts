// Where a server listens: a TCP port of an address, or a unix socket.

import { BlockList, isIPv6 } from "node:net";
import { socketPathRefusal } from "../../base/socket-path.ts";
import { NBD_PORT } from "../wire/constants.ts";

export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** It is no address; the message says what one looks like. */
class ListenAddressError extends Error {
  override readonly name = "ListenAddressError";
}

/** `host:port`, `[v6]:port`, `host` or `:port`; or `unix:PATH`. Port 0 takes any that is free. */
export function parseListenAddress(text: string): ListenAddress {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    const refusal = path === "" ? "give the path of the socket" : socketPathRefusal(path);
    if (refusal !== undefined) throw new ListenAddressError(`${text}: ${refusal}`);
    return { kind: "unix", path };
  }
  const [, v6, name, digits] = /^(?:\[([^\]]+)\]|([^:[\]/]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = v6 ?? name;
  const port = digits === undefined ? NBD_PORT : Number(digits);
  if (host === undefined || (v6 !== undefined && !isIPv6(v6)) || port > 65_535 || (host === "" && digits === undefined))
    throw new ListenAddressError(`${text}: no address; give HOST:PORT, [V6]:PORT or unix:PATH`);
  return { kind: "tcp", host: host === "" ? "::" : host, port };
}

export function formatListenAddress(address: ListenAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Only programs on this machine can connect. */
export function isLocal(address: ListenAddress): boolean {
  if (address.kind === "unix" || address.host === "localhost") return true;
  return LOOPBACK.check(address.host, isIPv6(address.host) ? "ipv6" : "ipv4");
}
