// A copy that comes back with a block of its own freemap rotten: what its last complete state has in use can't be told, so nothing
// on it is given out while it is caught up (I7). The operator may give that state up.

import { expect, it } from "vitest";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { rootFreemapOffset } from "../../src/format/root-block.ts";
import { copyOf, MIB } from "../model/simulated-volume.ts";
import { eachAlone, formatted, imagesOf, mount, settle, treeOf, unmount, worked } from "./copies-scene.ts";

const AWAY = 1;

it("keeps its last complete state while it is caught up", async () => {
  for (let seed = 1500; seed < 1506; seed++) {
    const fresh = await formatted(seed, [24 * MIB, 20 * MIB]);
    const { work, mounted: first } = await worked(seed, fresh, { steps: 25, bulkBytes: 3 * MIB });
    await unmount(first);
    const together = imagesOf(first.devices);
    const before = await work.tree();
    const freemapKib = refPointer(first.volume.rootImage.view, rootFreemapOffset(AWAY), AWAY);
    const second = await mount(seed, [together[0], undefined], { degraded: true });
    await work.run(second.fs, 40);
    await unmount(second);
    const rotten = (together[AWAY] as NonNullable<(typeof together)[number]>).fork();
    rotten.write(freemapKib * KIB, new Uint8Array(KIB).fill(0xee));

    const third = await mount(seed, [second.devices[0]?.image, rotten]);
    await settle(third);
    await work.run(third.fs, 10);
    expect(third.volume.readOnly, `seed ${seed}`).toBeUndefined();
    const alone = [undefined, copyOf((third.devices[AWAY] as NonNullable<(typeof third.devices)[number]>).image)];
    expect(third.notes.join()).toMatch(/no room.*--no-anchor/);
    expect(await treeOf(seed, alone, { forcedMaster: AWAY }), `seed ${seed}`).toBe(before);
    await third.caretaker.takeBack(third.volume.rings.ring(AWAY)!, { noAnchor: true });
    await settle(third);
    await unmount(third);
    expect(third.volume.members.inSync, third.notes.join()).toBe(0b11);
    await eachAlone(seed, imagesOf(third.devices), await work.tree());
  }
});
