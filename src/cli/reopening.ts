// An export of a remote node that was given up, because its server was away for too long or came back as another one: its clients are
// cut off, nobody is let in, and it is opened again as soon as that can be done. Other exports are served meanwhile.

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../base/thrown.ts";
import { closeTarget, type OpenTarget } from "../copies/targets.ts";
import type { BlockDevice } from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import type { Export } from "../nbd/server/export.ts";

const PAUSE_FIRST_MS = 500;
const PAUSE_MAX_MS = 15_000;

export interface ReopeningOptions {
  readonly served: Export;
  /** What it was on until now. */
  readonly target: OpenTarget;
  readonly open: () => Promise<OpenTarget>;
  readonly deviceOf: (target: OpenTarget) => BlockDevice;
  /** Hangs up on its clients. */
  readonly cut: () => void;
  /** The server is coming to its end. */
  readonly isEnding: () => boolean;
  readonly log: (line: string) => void;
}

/** A node of it was given up: only opening it anew helps. */
export const isGivenUp = ({ devices }: OpenTarget): boolean =>
  devices.some((device) => device.report?.()?.connection?.state === "given-up");

/** Gives what the export is on afterwards; what it was on when the server ends before. Never rejects. */
export async function reopened(options: ReopeningOptions): Promise<OpenTarget> {
  const { served, target, open, deviceOf, cut, isEnding, log } = options;
  const { sizeBytes } = served.device;
  const say = (line: string): void => log(`export "${served.name}": ${line}`);
  served.lose();
  cut();
  say("nobody is let in until it can be opened again");
  await closeTarget(target);
  let lastTrouble = "";
  for (let pauseMs = PAUSE_FIRST_MS; !isEnding(); pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS)) {
    await sleep(pauseMs, undefined, { ref: false });
    try {
      const fresh = await open();
      const device = deviceOf(fresh);
      if (!isEnding() && !isGivenUp(fresh) && device.sizeBytes === sizeBytes) {
        served.regain(device);
        say("open again");
        return fresh;
      }
      await closeTarget(fresh);
      if (device.sizeBytes !== sizeBytes)
        throw new OpenError(target.name, "open", "EINVAL", `has ${device.sizeBytes} bytes now, not ${sizeBytes}`);
    } catch (error) {
      const trouble = messageOf(error);
      if (trouble !== lastTrouble) say(`can't be opened: ${trouble}`);
      lastTrouble = trouble;
    }
  }
  return target;
}
