// Entry of the worker's process: one mount, served on this thread. Orders come and reports go over the IPC channel.
// When the supervisor dies the worker serves on: programs using the mount must not notice.

import { expectDetaching } from "../base/free-memory.ts";
import { settleDown } from "../base/idle-memory.ts";
import { keepDescriptors } from "../device/kept.ts";
import { HANDED, receiveHanded } from "./hand-over.ts";
import { letHelpersGiveWay } from "./helper-threads.ts";
import { closeInherited, DeviceSender } from "./kept-devices.ts";
import { MountExit, WorkerOrder, type WorkerReport } from "./messages.ts";
import { Worker } from "./worker.ts";

/** The one descriptor that is inherited, after stdin, stdout, stderr and the channel. */
const HAND_OVER_FD = 4;
/** A worker without an order for so long is a spare one. */
const IDLE_AFTER_MS = 1000;

function report(message: WorkerReport): Promise<void> {
  return new Promise((resolve) => {
    if (process.send && process.connected) process.send(message, undefined, undefined, () => resolve());
    else resolve();
  });
}

/** What the supervisor handed over; without a mount of the kernel, nothing. */
function handedOver() {
  const handed = receiveHanded(HAND_OVER_FD);
  const take = (name: string): number | undefined => {
    const fd = handed.get(name);
    handed.delete(name);
    return fd;
  };
  const [fuseFd, memoryFd, keeperFd] = [take(HANDED.fuse), take(HANDED.memory), take(HANDED.keeper)];
  return { fuseFd, memoryFd, keeperFd, held: [...handed] };
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

letHelpersGiveWay();
expectDetaching();
closeInherited(process.env);
const idle = setTimeout(settleDown, IDLE_AFTER_MS);
let worker: Worker | undefined;
let devices: DeviceSender | undefined;
/** There may be programs that use the mount. */
let serving = false;

async function obey(order: WorkerOrder): Promise<void> {
  switch (order.type) {
    case "start": {
      clearTimeout(idle);
      const { fuseFd, memoryFd, keeperFd, held } = handedOver();
      if (keeperFd !== undefined) {
        devices = new DeviceSender(keeperFd, held, () => void report({ type: "devices" }));
        keepDescriptors(devices);
      }
      worker = await Worker.open(order.request, {
        fuseFd,
        memoryFd,
        takeOver: order.takeOver,
        heartbeatNonce: order.heartbeatNonce === undefined ? undefined : Buffer.from(order.heartbeatNonce, "hex"),
      });
      devices?.settle();
      worker.onTargets = (targets) => void report({ type: "targets", targets });
      return report({ type: "opened", volumeUuid: worker.volumeUuid, warnings: worker.warnings() });
    }
    case "serve": {
      serving = true;
      const served = worker as Worker;
      served.onSettled = () => void report({ type: "settled" });
      const { ended, warnings } = await served.serve();
      await report({ type: "serving", warnings });
      // Not awaited: orders keep coming while the mount is served.
      void ended.then(async (error) => {
        await report({ type: "ended", ...(error === undefined ? {} : { error }) });
        process.exit(0);
      });
      return;
    }
    case "status":
      return report({
        type: "answer",
        id: order.id,
        ...(worker ? { volume: worker.status() } : { error: "not mounted" }),
      });
    case "sync": {
      const error = await worker?.sync().then(() => undefined, describe);
      return report({ type: "answer", id: order.id, ...(error === undefined ? {} : { error }) });
    }
    case "verb": {
      const { verb, args, id } = order;
      const answer = worker ? await worker.carryOut({ verb, args }) : { error: "not mounted" };
      return report({ type: "answer", id, ...answer });
    }
    case "leave":
      try {
        await worker?.leave();
      } catch (error) {
        // What is not committed is in the journal.
        console.error(`worker: ${describe(error)}`);
        process.exit(MountExit.FAILURE);
      }
      await report({ type: "left" });
      process.exit(0);
      break;
    case "stop":
      return worker?.stop();
  }
}

process.on("message", (message) => {
  const order = WorkerOrder.safeParse(message);
  if (!order.success) return console.error("worker: an order makes no sense");
  obey(order.data).catch(async (error: unknown) => {
    if ("id" in order.data) {
      return report({ type: "answer", id: order.data.id, error: describe(error) });
    }
    await report({ type: "failed", message: describe(error), exitCode: MountExit.FAILURE });
    process.exit(MountExit.FAILURE);
  });
});

// Control-C in the foreground reaches every process of the terminal: the supervisor decides what it means.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
// What is printed goes to the supervisor's log; when that is gone nobody reads it, which is no reason to stop.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
process.on("disconnect", () => {
  // Nobody would ever ask it to serve, and it would keep what it has locked.
  if (!serving) process.exit(MountExit.SYSTEM);
  console.error("worker: the supervisor is gone; serving on");
});

// Whatever nobody caught says that the state in memory may be wrong: nothing more is written, what is there can be read.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    console.error(`worker: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    if (worker) worker.fault(error);
    else
      void report({ type: "failed", message: describe(error), exitCode: MountExit.SYSTEM }).then(() =>
        process.exit(MountExit.SYSTEM),
      );
  });
}
