// A copy that is away comes back by itself, if what the root remembers of where it is makes any sense.

import { expect, it, vi } from "vitest";
import { wait } from "../../src/daemon/verbs/wait.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { setRootTarget } from "../../src/format/root-members.ts";
import { answersFor } from "../../src/nbd/open.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Comeback } from "../../src/walk/comeback.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { formatted, formattedNodes, mount, unmount } from "./copies-scene.ts";
import { MIB } from "../model/simulated-volume.ts";

it.each(["nbd://", "nbd://h:99999/x", "nbd+unix:///x", "a.img+nbd://"])(
  "a hint '%s' in a root keeps the copy away, and harms nothing else (I12)",
  async (hint) => {
    const [first, second] = await formatted(5, [24 * MIB, 24 * MIB]);
    await unmount(await mount(5, [first, second]));
    const mounted = await mount(5, [first, undefined], { degraded: true });
    const { volume, caretaker, clock } = mounted;
    setRootTarget(volume.rootImage.view, 1, hint);
    const notes: string[] = [];
    const comeback = new Comeback(volume, caretaker, {
      clock,
      answers: (node) => answersFor(node, clock),
      onNote: (line) => void notes.push(line),
    });
    const uncaught: unknown[] = [];
    const catching = (error: unknown): void => void uncaught.push(error);
    process.on("unhandledRejection", catching);
    comeback.start();
    for (let i = 0; i < 4; i++) await clock.advance(4000);
    process.off("unhandledRejection", catching);
    expect(uncaught).toEqual([]);
    expect(notes).toEqual([expect.stringMatching(/^copy 1 does not come back: /)]);
    await comeback.close();
    await unmount(mounted);
  },
);

it("nothing is looked for while all copies are local; one that comes from a server is looked after", async () => {
  const [first, second] = await formatted(6, [24 * MIB, 24 * MIB]);
  await unmount(await mount(6, [first, second]));
  const mounted = await mount(6, [first, undefined], { degraded: true });
  const { volume, caretaker, clock } = mounted;
  const asked: string[] = [];
  const comeback = new Comeback(volume, caretaker, {
    clock,
    answers: (node) => {
      asked.push(node);
      return Promise.resolve(false);
    },
    onNote: () => undefined,
  });
  const timers = vi.spyOn(clock, "after");
  comeback.start();
  expect(timers).not.toHaveBeenCalled();
  setRootTarget(volume.rootImage.view, 1, "nbd://far/x");
  comeback.membersChanged();
  comeback.membersChanged();
  expect(timers).toHaveBeenCalledTimes(1);
  for (let i = 0; i < 2; i++) await clock.advance(4000);
  expect(asked).toEqual(["nbd://far/x", "nbd://far/x"]);
  await comeback.close();
  await unmount(mounted);
});

it.each(["stale", "syncing"])(
  "who waits for a resync waits for a copy that is %s and comes back just now, however its last one ended",
  async (standing) => {
    const mounted = await mount(7, await formattedNodes(7, [24 * MIB, 24 * MIB]));
    const { volume, caretaker, copies, devices } = mounted;
    let asked = false;
    let waited: Promise<void> | undefined;
    const asking = (): Promise<void> => wait.run({ volume, caretaker }, { activities: ["resync"] });
    const reopened = (): SimulatedDevice => {
      const { name, sizeBytes, image } = devices[1] as SimulatedDevice;
      const device = new SimulatedDevice(name, sizeBytes, { image });
      const write = device.write.bind(device);
      device.write = (...given) => {
        if (asked && copies.copy(1)?.standing === standing) waited ??= asking();
        return write(...given);
      };
      return ((devices as SimulatedDevice[])[1] = device);
    };
    Object.assign(copies, { open: () => Promise.resolve(reopened()) });
    await takeOut(volume, caretaker, 1, { lasting: true });
    await bringBack(volume, caretaker, 1);
    await asking();
    expect(caretaker.catchUps.get(1)?.end).toBe("complete");
    await takeOut(volume, caretaker, 1, { lasting: true });
    await volume.forceCommit();
    asked = true;
    await bringBack(volume, caretaker, 1);
    expect(waited).toBeDefined();
    await waited;
    expect(volume.members.inSync).toBe(0b11);
    await unmount(mounted);
  },
);
