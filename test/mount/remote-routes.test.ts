// A copy on a host that two networks lead to: network namespaces, links taken down and up under work. The copy never leaves.

import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ForeignServer, imageIn, startNbdkitOn } from "../nbd/foreign-servers.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

const MIB = 1024 * 1024;
const NAMESPACE = `h2ts-${process.pid}`;
const LINKS = [0, 1].map((i) => ({
  here: `h2a${process.pid % 10000}.${i}`,
  there: `h2b${process.pid % 10000}.${i}`,
  net: `198.18.${i}`,
}));

const ip = (...words: string[]): boolean => spawnSync("ip", words).status === 0;
const set = (link: { here: string }, state: "up" | "down"): boolean => ip("link", "set", link.here, state);

function makeHost(): boolean {
  if (!ip("netns", "add", NAMESPACE)) return false;
  return LINKS.every(
    ({ here, there, net }) =>
      ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", NAMESPACE) &&
      ip("addr", "add", `${net}.1/24`, "dev", here) &&
      ip("-n", NAMESPACE, "addr", "add", `${net}.2/24`, "dev", there) &&
      ip("link", "set", here, "up") &&
      ip("-n", NAMESPACE, "link", "set", there, "up"),
  );
}

function removeHost(): void {
  for (const { here } of LINKS) ip("link", "del", here);
  ip("netns", "del", NAMESPACE);
}

const possible = mountsImpossible() === undefined && makeHost();
removeHost();

let place: CopiesPlace;
let server: ForeignServer;
beforeEach(async () => {
  makeHost();
  place = new CopiesPlace();
  imageIn(place.folder, 96 * MIB, "remote.img");
  server = await startNbdkitOn(10809, ["file", place.path("remote.img")], { host: "0.0.0.0", namespace: NAMESPACE });
});
afterEach(async () => {
  place.clear();
  await server.stop();
  removeHost();
});

describe.skipIf(!possible)("a copy that two networks lead to", () => {
  it("stays in sync whichever of them is down, and the first is used again when it is back", async () => {
    const [first, second] = LINKS as [(typeof LINKS)[0], (typeof LINKS)[0]];
    const remote = `nbd://${first.net}.2,${second.net}.2/`;
    const local = imageIn(place.folder, 96 * MIB, "local.img");
    expect(await place.run("mkfs.h2ts", "-q", local, remote)).toMatchObject({ code: 0, out: "", err: "" });
    expect(await place.run("mount.h2ts", `${local},${remote}`, place.mnt)).toMatchObject({ code: 0, out: "", err: "" });
    const work = new Work(place.mnt, 21);
    work.start();
    const uses = async ({ net }: { net: string }): Promise<void> => {
      const address = async (): Promise<string | undefined> =>
        (await place.status()).copies[1]?.nodes[0]?.connection?.address;
      await expect.poll(address, { timeout: 20_000 }).toBe(`${net}.2`);
    };
    await uses(first);
    set(first, "down");
    await uses(second);
    await work.stop();
    work.start();
    set(first, "up");
    await uses(first);
    set(first, "down");
    await uses(second);
    set(first, "up");
    await work.stop();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    expect((await place.status()).notes.filter((note) => /given up|dropped|FAULTED/.test(note))).toEqual([]);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [local, remote]);
  });
});
