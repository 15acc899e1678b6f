// The last copy of a volume whose others are missing is replaced: it leaves once the new one is complete, and its end harms nobody (I2, I9).

import { expect, it } from "vitest";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formatted, mount, targetOf, unmount } from "./copies-scene.ts";

it.each([2, 3])("the only one of %d copies that is there can be replaced, and then fail", async (count) => {
  const images = await formatted(77, [20 * MIB, 20 * MIB, 20 * MIB].slice(0, count));
  const mounted = await mount(
    77,
    images.map((image, i) => (i === 0 ? image : undefined)),
    { degraded: true },
  );
  const { volume, caretaker, devices, notes } = mounted;
  await caretaker.settled();
  await caretaker.replace(0, targetOf(new SimulatedDevice("new", 26 * MIB)));
  await caretaker.settled();
  expect(volume.members.inSync, notes.join("\n")).toBe(1 << count);
  expect(volume.members.all & 1, "what was replaced has left").toBe(0);
  devices[0]!.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
  await volume.forceCommit();
  expect(volume.readOnly).toBeUndefined();
  await unmount(mounted);
});
