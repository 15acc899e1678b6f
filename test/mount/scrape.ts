// Gets what `-o metrics=` serves, as Prometheus does.

import { once } from "node:events";
import { get, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";

/** All metrics served on a port of this machine, or on a socket. */
export async function scrape(where: { readonly port: number } | { readonly socketPath: string }): Promise<string> {
  const [response] = (await once(get({ ...where, path: "/metrics" }), "response")) as [IncomingMessage];
  if (response.statusCode !== 200) throw new Error(`/metrics: HTTP ${response.statusCode}`);
  return text(response);
}

/** The value of a sample, by its name and labels as they are written; undefined where there is none. */
export function sampleIn(page: string, name: string): number | undefined {
  const line = page.split("\n").find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}
