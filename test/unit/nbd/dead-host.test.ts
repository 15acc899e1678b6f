// A server notices that a client's host is gone, also while a reply is on its way to it: the system was told so.

import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { afterEach, expect, it } from "vitest";
import { loadKoffi } from "../../../src/base/koffi.ts";
import { SystemClock } from "../../../src/base/clock.ts";
import { AllowList } from "../../../src/nbd/server/allow-list.ts";
import { Catalogue } from "../../../src/nbd/server/catalogue.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { parseListenAddress } from "../../../src/nbd/server/listen-address.ts";
import { NbdServer } from "../../../src/nbd/server/server.ts";

const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

const sockets: Socket[] = [];
const servers: NbdServer[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) await server.drain();
});

/** What is set on the TCP sockets of this process, other than 0. */
function userTimeouts(): number[] {
  const getsockopt = loadKoffi()
    .load(null)
    .func("int getsockopt(int fd, int level, int option, _Out_ void *value, _Inout_ void *bytes)");
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    const value = new Uint32Array(1);
    const failed = getsockopt(Number(fd), IPPROTO_TCP, TCP_USER_TIMEOUT, value, Uint32Array.of(4)) !== 0;
    return failed || value[0] === 0 ? [] : [...value];
  });
}

async function listening(): Promise<{ host: string; port: number }> {
  const catalogue = new Catalogue([], new AllowList([], []));
  const options = { limits: DEFAULT_LIMITS, clock: new SystemClock(), tls: undefined, log: () => undefined };
  // Nobody would be let in where there is nothing.
  const admitting = Object.assign(catalogue, { admits: () => true });
  const server = new NbdServer({ ...options, catalogue: admitting });
  servers.push(server);
  const address = await server.listen(parseListenAddress("127.0.0.1:0"));
  if (address.kind === "unix") throw new Error("not an address of TCP");
  return { host: "127.0.0.1", port: address.port };
}

it("a client that acknowledges nothing for half a minute is given up", async () => {
  const socket = connect(await listening());
  sockets.push(socket);
  await once(socket, "data");
  expect(userTimeouts()).toEqual([30_000]);
});
