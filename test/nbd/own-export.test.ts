// The contract of devices on a remote node, against our own export: with its lease nobody else writes there.

import { describe, expect, it } from "vitest";
import { deviceOpener } from "../../src/nbd/open.ts";
import { deviceContract } from "../contract/device.ts";
import { imageIn, startExport } from "./foreign-servers.ts";
import { deviceBehind } from "./remote-devices.ts";

const MIB = 1024 * 1024;

const deviceOf = () => deviceBehind((folder) => startExport(folder, imageIn(folder, 5 * MIB)));

deviceContract("remote node of our own export", deviceOf);

describe("a remote node of our own export", () => {
  it("is ours alone, as a local image is", async () => {
    const { device, target, dispose } = await deviceOf();
    expect(device.exclusive).toBe(true);
    await expect(deviceOpener()(target, { writable: true })).rejects.toMatchObject({
      code: "EBUSY",
      operation: "lock",
    });
    await device.close();
    await (await deviceOpener()(target, { writable: true })).close();
    await dispose();
  });

  it("is one client's by one name: by another name the same export is refused, and the first goes on", async () => {
    const { device, target, dispose } = await deviceOf();
    const open = deviceOpener();
    await device.close();
    const first = await open(target, { writable: true });
    // An empty name means the only export there is.
    const other = target.replace("/vol?", "/?");
    await expect(open(other, { writable: true })).rejects.toMatchObject({ code: "EBUSY", operation: "lock" });
    await first.write(0, [new Uint8Array(4096)]);
    expect(first.report?.()?.connection).toMatchObject({ state: "connected", reconnects: 0 });
    await first.close();
    await dispose();
  });

  it("is opened once by one name, also while it is being opened; and after that failed it can be opened", async () => {
    const { device, target, dispose } = await deviceOf();
    const open = deviceOpener();
    await expect(open(target, { writable: true })).rejects.toMatchObject({ code: "EBUSY" });
    await device.close();
    const [first, second] = await Promise.allSettled([1, 2].map(() => open(target, { writable: true })));
    expect(second).toMatchObject({ status: "rejected", reason: { code: "EBUSY", operation: "lock" } });
    if (first?.status !== "fulfilled") throw first?.reason;
    await first.value.write(0, [new Uint8Array(4096)]);
    expect(first.value.report?.()?.connection).toMatchObject({ state: "connected", reconnects: 0 });
    await first.value.close();
    await dispose();
  });
});
