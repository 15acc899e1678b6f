// How the kernel transport lives: asleep when idle, awake for everything else the event loop has, replaced while mounted.

import { closeSync } from "node:fs";
import * as fsp from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { NullRequests } from "../../bench/null-requests.ts";
import { SystemClock } from "../../src/base/clock.ts";
import { fusermount, fuserunmount } from "../../src/fuse/kernel/fusermount.ts";
import { mount, setNonBlocking, unmount } from "../../src/fuse/kernel/mount.ts";
import { mountAt, ownMountAt } from "../../src/fuse/kernel/mountinfo.ts";
import { REQUESTS_IN_FLIGHT } from "../../src/fuse/kernel/session.ts";
import { kernelTransport, serveDevice } from "../../src/fuse/kernel/transport.ts";
import type { ReadResult } from "../../src/posix/requests.ts";
import { MemoryFileSystem } from "./memory-filesystem.ts";
import { mayMount, run, withMount } from "./null-mounted.ts";

const onFault = (error: unknown): void => {
  throw error;
};

const IDLE_WINDOW_MS = 1000;
/** A loop that turns takes all of it; what else this process has to do now and then takes a part of some windows. */
const IDLE_CPU_MS_MAX = 50;

/** CPU time of this process while nobody asks for anything. */
async function cpuMsWhileIdle(): Promise<number> {
  const before = process.cpuUsage();
  await delay(IDLE_WINDOW_MS);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** A filesystem in memory whose every read waits for `gate`. */
class SlowReads extends MemoryFileSystem {
  gate: Promise<unknown> = Promise.resolve();
  reading = 0;

  override read(ino: number, offset: number, lengthBytes: number): ReadResult {
    this.reading++;
    // A promise in place of the value: what the interface allows and the plain one never does.
    return this.gate.then(() => super.read(ino, offset, lengthBytes)) as unknown as ReadResult;
  }
}

describe.runIf(mayMount())("kernel transport", () => {
  it("burns no CPU while idle, and still runs timers", async () => {
    await withMount(kernelTransport, new NullRequests(), async (directory) => {
      await fsp.stat(directory);
      let ticks = 0;
      const timer = setInterval(() => ticks++, IDLE_WINDOW_MS / 10);
      await expect.poll(cpuMsWhileIdle, { timeout: 10 * IDLE_WINDOW_MS }).toBeLessThan(IDLE_CPU_MS_MAX);
      clearInterval(timer);
      expect(ticks).toBeGreaterThanOrEqual(5);
    });
  });

  it("answers others while some wait", async () => {
    const fs = new SlowReads(new SystemClock());
    await withMount(kernelTransport, fs, async (directory) => {
      await run("for i in 1 2 3 4 5 6; do echo $i > f$i; done; sync f1; echo 3 > /proc/sys/vm/drop_caches", directory);
      let open = (): void => undefined;
      fs.gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const reader = run("cat f1 f2 & cat f3 & cat f4 & wait", directory);
      await expect.poll(() => fs.reading).toBeGreaterThanOrEqual(3);
      expect(await run("ls; mkdir d; rmdir d", directory)).toContain("f6");
      open();
      expect(
        (await reader)
          .split("\n")
          .filter((line) => line !== "")
          .sort(),
      ).toEqual(["1", "2", "3", "4"]);
    });
  });

  it("burns no CPU while more wait than are served at a time, and goes on when one is answered", async () => {
    const fs = new SlowReads(new SystemClock());
    await withMount(kernelTransport, fs, async (directory) => {
      const each = `for i in $(seq ${REQUESTS_IN_FLIGHT + 16}); do`;
      await run(`${each} echo $i > f$i; done; sync f1; echo 3 > /proc/sys/vm/drop_caches`, directory);
      let open = (): void => undefined;
      fs.gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      const reader = run(`${each} cat f$i & done; wait`, directory);
      await expect.poll(() => fs.reading, { timeout: 10_000 }).toBe(REQUESTS_IN_FLIGHT);
      await expect.poll(cpuMsWhileIdle, { timeout: 10 * IDLE_WINDOW_MS }).toBeLessThan(IDLE_CPU_MS_MAX);
      open();
      expect((await reader).trim().split("\n")).toHaveLength(REQUESTS_IN_FLIGHT + 16);
      await expect.poll(cpuMsWhileIdle, { timeout: 10 * IDLE_WINDOW_MS }).toBeLessThan(IDLE_CPU_MS_MAX);
    });
  });

  it("is taken over by another session, which gets again what the first left unanswered", async () => {
    const fs = new SlowReads(new SystemClock());
    const directory = await fsp.mkdtemp(join(tmpdir(), "h2ts-mount-"));
    const { fd } = mount({ source: "test", directory });
    try {
      const first = serveDevice(fd, fs, { onFault });
      await run("echo survived > f; sync f; echo 3 > /proc/sys/vm/drop_caches", directory);
      fs.gate = new Promise(() => undefined);
      const reader = run("cat f", directory);
      await expect.poll(() => fs.reading).toBe(1);
      await first.stop();
      fs.gate = Promise.resolve();
      const second = serveDevice(fd, fs, { onFault, negotiated: first.session.negotiated });
      expect(await reader).toBe("survived\n");
      expect(fs.reading).toBe(2);
      await unmount(directory);
      await second.closed;
    } finally {
      if (ownMountAt(directory) !== undefined) await unmount(directory, true);
      closeSync(fd);
      await fsp.rmdir(directory);
    }
  });

  it("reads ahead in large requests, and refuses to unmount while in use", async () => {
    await withMount(kernelTransport, new NullRequests(), async (directory, mounted) => {
      const device = mountAt(directory)?.device ?? "";
      expect((await fsp.readFile(`/sys/class/bdi/${device}/read_ahead_kb`, "utf8")).trim()).toBe("1024");
      const file = await fsp.open(join(directory, "zeroes"));
      await expect(mounted.unmount()).rejects.toThrow("EBUSY");
      await file.close();
    });
  });

  it("works through fusermount3", async () => {
    const directory = await fsp.mkdtemp(join(tmpdir(), "h2ts-mount-"));
    const fd = fusermount(directory, ["fsname=through", "subtype=h2ts", "default_permissions"]);
    try {
      setNonBlocking(fd);
      const service = serveDevice(fd, new MemoryFileSystem(new SystemClock()), { onFault });
      expect(await run("echo hi > f; cat f", directory)).toBe("hi\n");
      expect(ownMountAt(directory)?.source).toBe("through");
      await fuserunmount(directory, false);
      await service.closed;
    } finally {
      if (ownMountAt(directory) !== undefined) await unmount(directory, true);
      closeSync(fd);
      await fsp.rmdir(directory);
    }
  });
});
