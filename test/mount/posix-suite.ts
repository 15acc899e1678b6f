// The same end-to-end tests for every transport, on one volume of two copies of unequal size, which must be sound in the end.

import { afterAll, afterEach, beforeAll, describe, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { attributesSuite } from "./posix-attributes.ts";
import { contentSuite } from "./posix-content.ts";
import { CAPABILITIES, MountedVolume, type TransportName } from "./posix-mounted.ts";
import { namesSuite } from "./posix-names.ts";
import { permissionsSuite } from "./posix-permissions.ts";
import { closeLeftovers } from "./posix-system.ts";
import { directoriesSuite, spaceSuite, statisticsSuite } from "./posix-volume.ts";
import { xattrsSuite } from "./posix-xattrs.ts";

export function posixSuite(transport: TransportName): void {
  const can = CAPABILITIES[transport];
  describe.skipIf(mountsImpossible() !== undefined)(`POSIX through ${transport}`, () => {
    let mounted: MountedVolume;
    const volume = (): MountedVolume => mounted;
    beforeAll(async () => {
      mounted = await MountedVolume.create(transport);
    });
    afterEach(closeLeftovers);
    afterAll(() => mounted?.destroy());

    namesSuite(volume, can);
    attributesSuite(volume, can);
    permissionsSuite(volume, can);
    xattrsSuite(volume, can);
    contentSuite(volume, can);
    directoriesSuite(volume);
    statisticsSuite(volume, can);

    it("leaves a sound volume", async () => {
      await mounted.unmount();
      await mounted.check();
    });

    spaceSuite(transport);
  });
}
