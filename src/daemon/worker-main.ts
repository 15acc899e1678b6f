// Entry of the worker's process: one mount, served on this thread. Orders come and reports go over the IPC channel.
// When the supervisor dies the worker serves on: programs using the mount must not notice.

import { expectDetaching } from "../base/free-memory.ts";
import { settleDown } from "../base/idle-memory.ts";
import { leave } from "../base/leave.ts";
import { surviveOutputErrors } from "../base/output.ts";
import { messageOf, traceOf } from "../base/thrown.ts";
import { parseUuid } from "../base/uuid.ts";
import { isSyntax } from "../copies/errors.ts";
import { sender } from "../fuse/kernel/notices.ts";
import { keepDescriptors } from "../device/kept.ts";
import { HANDED, receiveHanded } from "./hand-over.ts";
import { letHelpersGiveWay } from "./helper-threads.ts";
import { closeInherited, DeviceSender } from "./kept-devices.ts";
import { MountExit, type MountRequest, WorkerOrder, type WorkerReport } from "./messages.ts";
import { NoticeCourier } from "./notice-courier.ts";
import { tellParent } from "./tell-parent.ts";
import { unreadableOrder } from "./unreadable.ts";
import { Worker } from "./worker.ts";
import type { Answer } from "./worker-process.ts";

/** The one descriptor that is inherited, after stdin, stdout, stderr and the channel. */
const HAND_OVER_FD = 4;
/** A worker without an order for so long is a spare one. */
const IDLE_AFTER_MS = 1000;

const report: (message: WorkerReport) => Promise<void> = tellParent;

const handNotice = (id: number, message: Uint8Array): void =>
  void report({ type: "notice", id, message: Buffer.from(message).toString("base64") });

/** Ends the process, also when a thread hangs in a call on a device: process.exit would wait for that. */
function end(exitCode: number): Promise<void> {
  process.exitCode = exitCode;
  return leave();
}

/**
 * What the supervisor handed over; without a mount of the kernel, nothing. Undefined when less arrived than every worker needs: another
 * one may have better luck. A device that did not arrive counts as any other that can't be opened.
 */
function receiveAll({ options }: MountRequest) {
  const handed = receiveHanded(HAND_OVER_FD);
  const take = (name: string): number | undefined => {
    const fd = handed.get(name);
    handed.delete(name);
    return fd;
  };
  const [fuseFd, memoryFd, keeperFd] = [take(HANDED.fuse), take(HANDED.memory), take(HANDED.keeper)];
  const hasAll = fuseFd !== undefined && memoryFd !== undefined && keeperFd !== undefined;
  if (options.transport === "kernel" && !hasAll) return undefined;
  return { fuseFd, memoryFd, keeperFd, held: [...handed] };
}

letHelpersGiveWay();
expectDetaching();
closeInherited(process.env);
const idle = setTimeout(settleDown, IDLE_AFTER_MS);
let worker: Worker | undefined;
let devices: DeviceSender | undefined;
let courier: NoticeCourier | undefined;
/** There may be programs that use the mount. */
let serving = false;

type Order<T extends WorkerOrder["type"]> = Extract<WorkerOrder, { readonly type: T }>;

async function obey(order: WorkerOrder): Promise<void> {
  switch (order.type) {
    case "start":
      return start(order);
    case "serve":
      return serve(worker as Worker);
    case "noticed":
      return courier?.brought(order.id, order.result);
    case "status":
      return answer(order.id, worker ? { volume: worker.status() } : NOT_MOUNTED);
    case "sync": {
      const error = await worker?.sync().then(() => undefined, messageOf);
      return answer(order.id, error === undefined ? {} : { error });
    }
    case "verb":
      return answer(order.id, (await worker?.carryOut({ verb: order.verb, args: order.args })) ?? NOT_MOUNTED);
    case "leave":
      return makeWay();
  }
}

const NOT_MOUNTED = { error: "not mounted" } as const;

const answer = (id: number, given: Answer): Promise<void> => report({ type: "answer", id, ...given });

/** Opens the volume, with what was handed over for that. */
async function start(order: Order<"start">): Promise<void> {
  clearTimeout(idle);
  const handed = receiveAll(order.request);
  if (handed === undefined) {
    console.error("worker: not every descriptor of the mount arrived");
    return end(MountExit.SYSTEM);
  }
  const { fuseFd, memoryFd, keeperFd, held } = handed;
  if (keeperFd !== undefined) {
    devices = new DeviceSender(keeperFd, held, () => void report({ type: "devices" }));
    keepDescriptors(devices);
  }
  if (fuseFd !== undefined) courier = new NoticeCourier(order.bringsNotices ? handNotice : undefined, sender(fuseFd));
  worker = await Worker.open(order.request, {
    fuseFd,
    sendNotice: courier?.send,
    memoryFd,
    takeOver: order.takeOver,
    volumeUuid: order.volumeUuid === undefined ? undefined : parseUuid(order.volumeUuid),
    heartbeatNonce: order.heartbeatNonce === undefined ? undefined : Buffer.from(order.heartbeatNonce, "hex"),
  });
  await devices?.settle();
  worker.onTargets = (targets) => void report({ type: "targets", targets });
  await report({ type: "opened", volumeUuid: worker.volumeUuid, warnings: worker.warnings() });
}

/** Returns once the mount is live. When it is gone that is reported, and the process ends. */
async function serve(served: Worker): Promise<void> {
  serving = true;
  served.onSettled = () => void report({ type: "settled" });
  const { ended, warnings } = await served.serve();
  await report({ type: "serving", warnings });
  // Not awaited: orders keep coming while the mount is served.
  void ended.then(
    async (error) => {
      await report({ type: "ended", ...(error === undefined ? {} : { error }) });
      await end(0);
    },
    // It can't go on, and the mount is there: another worker can.
    (error: unknown) => {
      console.error(`worker: ${traceOf(error)}`);
      return end(MountExit.FAILURE);
    },
  );
}

/** Commits and ends, for another worker to go on with the mount. */
async function makeWay(): Promise<void> {
  try {
    await worker?.leave();
  } catch (error) {
    // What is not committed is in the journal.
    console.error(`worker: ${messageOf(error)}`);
    return end(MountExit.FAILURE);
  }
  await report({ type: "left" });
  return end(0);
}

/** Of a supervisor of another version. Without the order to begin there is nothing to be done here. */
async function refuse(message: unknown): Promise<void> {
  const { line, instead } = unreadableOrder(message) ?? {};
  console.error(`worker: ${line}`);
  if (instead !== undefined) await report(instead);
  if (instead?.type === "failed") await end(MountExit.SYSTEM);
}

process.on("message", (message) => {
  const order = WorkerOrder.safeParse(message);
  if (!order.success) return void refuse(message);
  obey(order.data).catch(async (error: unknown) => {
    if ("id" in order.data) {
      return report({ type: "answer", id: order.data.id, error: messageOf(error) });
    }
    const exitCode = isSyntax(error) ? MountExit.USAGE : MountExit.FAILURE;
    await report({ type: "failed", message: messageOf(error), exitCode });
    await end(MountExit.FAILURE);
  });
});

// Control-C in the foreground reaches every process of the terminal: the supervisor decides what it means.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
// What is printed goes to the supervisor's log; when that is gone nobody reads it, which is no reason to stop.
surviveOutputErrors();
process.on("disconnect", () => {
  // Nobody would ever ask it to serve, and it would keep what it has locked.
  if (!serving) return void end(MountExit.SYSTEM);
  console.error("worker: the supervisor is gone; serving on");
  courier?.leftAlone();
});

// Whatever nobody caught says that the state in memory may be wrong: nothing more is written, what is there can be read.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    console.error(`worker: ${traceOf(error)}`);
    if (worker) worker.fault(error);
    else
      void report({ type: "failed", message: messageOf(error), exitCode: MountExit.SYSTEM }).then(() =>
        end(MountExit.SYSTEM),
      );
  });
}
