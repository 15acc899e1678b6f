// Two hosts with a copy each behind TLS, and a third that mounts the volume with one copy of its own: programs work there while
// cables are cut, servers killed, and copies moved to another port, to another host, and to an address nobody had told of.
// No program sees an error; in the end all copies are in sync, the checker finds nothing, and each one alone holds everything.

import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { imageIn } from "../nbd/foreign-servers.ts";
import { type BusyProgram, busyPrograms } from "./busy-programs.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace } from "./copies-place.ts";
import { type Cable, TestHost, type TestServer } from "./test-network.ts";

const MIB = 1024 * 1024;
const COPY_MIB = 128;
const KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SEED = Number(process.env["H2TS_SEED"] ?? Date.now() % 1_000_000);
/** Longer than any move takes, shorter than the outage that costs a copy its place. */
const DEADLINE_MS = 8000;
const WORK_MS = 500;

let place: CopiesPlace;
let home: TestHost;
let hosts: [TestHost, TestHost];
/** Two from home to each host. */
let cables: [[Cable, Cable], [Cable, Cable]];
let programs: readonly BusyProgram[];
beforeEach(() => {
  place = new CopiesPlace();
  home = new TestHost("home");
  hosts = [new TestHost("first"), new TestHost("second")];
  cables = [
    [home.connect(hosts[0], "10.0.0"), home.connect(hosts[0], "10.0.1")],
    [home.connect(hosts[1], "10.0.2"), home.connect(hosts[1], "10.0.3")],
  ];
  place.within = home.within;
});
afterEach(() => {
  place.clear();
  for (const host of [home, ...hosts]) host.remove();
});

/** Serves an image from a host, at a port. */
function serve(host: TestHost, port: number, image: string): Promise<TestServer> {
  const words = ["--listen", `:${port}`, "--psk-file", place.path("keys"), `disk=${place.path(image)}`];
  return host.serve(words, place.path(`${image}.log`));
}

const target = (...addresses: string[]): string =>
  `nbds://mounter@${addresses.join(",")}/disk?tls-psk-file=${place.path("keys")}`;

/** Waits until a copy goes by an address that begins so; it must not leave meanwhile. */
async function goesBy(copy: number, address: string): Promise<void> {
  const now = async (): Promise<unknown> => {
    const { copies, notes } = await place.status();
    const { state, nodes } = copies[copy] ?? {};
    const { connection } = nodes?.[0] ?? {};
    expect(state, notes.join("\n")).toBe("ONLINE");
    return { state: connection?.state, address: connection?.address };
  };
  await expect.poll(now, { timeout: 30_000 }).toEqual({ state: "connected", address });
}

/** What a step came to: no program failed, and all went on. */
async function work(): Promise<void> {
  await sleep(WORK_MS);
  for (const program of programs) program.check();
}

async function inSync(): Promise<void> {
  await place.until(["ONLINE", "ONLINE", "ONLINE"]);
  await work();
}

describe.skipIf(mountsImpossible() !== undefined || !TestHost.possible)(
  "copies on two hosts, mounted on a third",
  () => {
    it("survive cut cables, killed servers and moves, and no program notices", { timeout: 300_000 }, async () => {
      console.log(`H2TS_SEED=${SEED}`);
      writeFileSync(place.path("keys"), `mounter:${KEY}\n`, { mode: 0o600 });
      const [[a1, a2], [b1, b2]] = cables;
      const [first, second] = hosts;
      const local = imageIn(place.folder, COPY_MIB * MIB, "local.img");
      for (const name of ["a", "b"]) imageIn(place.folder, COPY_MIB * MIB, name);
      const a = target(a1.address, a2.address, `${a1.address}:10810`);
      const b = target(b1.address, b2.address, `${a2.address}:10811`);
      let serverA = await serve(first, 10809, "a");
      let serverB = await serve(second, 10809, "b");
      expect(await place.run("mkfs.h2ts", "-q", local, a, b)).toMatchObject({ code: 0, out: "", err: "" });
      await place.h2ts("mount", "-o", `deadline=${DEADLINE_MS},commit=1`, local, a, b, place.mnt);
      programs = busyPrograms(place.mnt, place.folder, new SeededRandom(SEED));
      for (const program of programs) program.start();
      await work();

      // One cable of each is cut, and mended.
      a1.cut();
      await goesBy(1, a2.address);
      b1.cut();
      await goesBy(2, b2.address);
      a1.mend();
      b1.mend();
      await work();

      // A server is killed, and comes back at another port; then at the first again.
      await serverA.kill();
      serverA = await serve(first, 10810, "a");
      await goesBy(1, `${a1.address}:10810`);
      await work();
      await serverA.kill();
      serverA = await serve(first, 10809, "a");

      // A copy moves to the other host, and back.
      await serverB.kill();
      serverB = await serve(first, 10811, "b");
      await goesBy(2, `${a2.address}:10811`);
      await work();
      await serverB.kill();
      serverB = await serve(second, 10809, "b");
      await work();
      expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
      expect((await place.status()).notes.filter((note) => /given up|dropped|FAULTED/.test(note))).toEqual([]);

      // A whole host is away for so long that its copy is dropped; it comes back by itself.
      for (const cable of [b1, b2]) cable.cut();
      await place.until(["ONLINE", "ONLINE", "FAULTED"]);
      await work();
      for (const cable of [b1, b2]) cable.mend();
      await inSync();

      // The copy at home leaves: everything is on the servers alone.
      await place.h2ts("offline", place.mnt, "0");
      await work();
      await serverA.kill();
      serverA = await serve(first, 10809, "a");
      await work();
      await place.h2ts("online", place.mnt, "0");
      await inSync();

      // A copy moves to an address that nobody had told of.
      await place.h2ts("offline", place.mnt, "1");
      await serverA.kill();
      serverA = await serve(second, 10820, "a");
      const moved = target(`${b1.address}:10820`);
      await place.h2ts("online", place.mnt, "1", moved);
      await inSync();

      await Promise.all(programs.map((program) => program.stop()));
      console.log(
        programs.map(({ name, rounds, longestMs }) => `${name} ${rounds} (${Math.round(longestMs)} ms)`).join(", "),
      );
      await place.h2ts("wait", place.mnt);
      await place.inSyncAndWhole([local, moved, b]);
      await serverA.kill();
      await serverB.kill();
    });
  },
);
