// Devices on remote nodes, opened for a test: with a server of their own, or with what their client tells on the way.

import { SystemClock } from "../../src/base/clock.ts";
import type { BlockDevice } from "../../src/device/device.ts";
import type { NodeEvent } from "../../src/nbd/client/events.ts";
import type { RemotePolicy } from "../../src/nbd/client/policy.ts";
import { deviceOpener, openDevice } from "../../src/nbd/open.ts";
import type { DeviceUnderTest } from "../contract/device.ts";
import { type ForeignServer, temporaryFolder } from "./foreign-servers.ts";

/** Opens a device to write; what its client tells is added to `events`. */
export function openObserved(
  events: NodeEvent[],
  target: string,
  policy: Partial<RemotePolicy> = {},
): Promise<BlockDevice> {
  const observer = ({ event }: { event: NodeEvent }): void => void events.push(event);
  return deviceOpener({ clock: new SystemClock(), policy, observer })(target, { writable: true });
}

export const kindsOf = (events: readonly NodeEvent[]): string[] => events.map(({ kind }) => kind);

/** A device on a server that is started for it, in a folder that it is given. */
export async function deviceBehind(
  start: (folder: string) => Promise<ForeignServer>,
  open: (target: string) => Promise<BlockDevice> = (target) => openDevice(target, { writable: true }),
): Promise<DeviceUnderTest & { readonly target: string }> {
  const { path, dispose } = temporaryFolder();
  const server = await start(path);
  return {
    device: await open(server.target),
    target: server.target,
    dispose: async () => {
      await server.stop();
      dispose();
    },
  };
}
