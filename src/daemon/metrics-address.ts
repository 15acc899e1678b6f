// Where `-o metrics=ADDR` serves metrics.

/** Where metrics are served. */
export type MetricsAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** `[HOST:]PORT`, or the path of a unix socket; loopback unless a host is given. Undefined for anything else. */
export function parseMetricsAddress(text: string): MetricsAddress | undefined {
  if (text.startsWith("/")) return { path: text };
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/]+)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) return undefined;
  return { host: match[1] ?? match[2] ?? "127.0.0.1", port };
}
