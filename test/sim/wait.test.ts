// Whoever waits for a resync is told of every copy that is not in sync when it is over, also of those that nobody brings there.

import { expect, it } from "vitest";
import { wait } from "../../src/daemon/verbs/wait.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { formatted, formattedNodes, mount, type Mounted, unmount } from "./copies-scene.ts";
import { MIB } from "../model/simulated-volume.ts";

const waited = ({ volume, caretaker }: Mounted): Promise<void> =>
  wait.run({ volume, caretaker }, { activities: ["resync"] });

it("a copy that is missing is not in sync", async () => {
  const [first, second] = await formatted(8, [24 * MIB, 24 * MIB]);
  const whole = await mount(8, [first, second]);
  await waited(whole);
  await unmount(whole);
  const mounted = await mount(8, [first, undefined], { degraded: true });
  await expect(waited(mounted)).rejects.toThrow(/copy 1 is not in sync: it is missing; see h2ts status/);
  await unmount(mounted);
});

it("a copy that was dropped is not in sync, and why is said", async () => {
  const mounted = await mount(9, await formattedNodes(9, [24 * MIB, 24 * MIB]));
  mounted.devices[1]?.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
  await mounted.volume.forceCommit();
  expect(mounted.copies.copy(1)?.standing).toBe("faulted");
  await expect(waited(mounted)).rejects.toThrow(/copy 1 is not in sync: .*EIO.*; see h2ts status/);
  await unmount(mounted);
});

it("one that the operator took out is not waited for", async () => {
  const mounted = await mount(10, await formattedNodes(10, [24 * MIB, 24 * MIB]));
  await takeOut(mounted.volume, mounted.caretaker, 1, { lasting: true });
  await waited(mounted);
  await unmount(mounted);
});
