// What the processes of one mount say to each other, validated on arrival: the mount command starts the supervisor, the
// supervisor starts the worker, both over Node's IPC channel; commands reach the supervisor over its control socket,
// one JSON object a line. The supervisor serves nothing itself, so it outlives whatever befalls the worker.

import { z } from "zod";
import { MountOptions } from "./mount-options.ts";
import { VolumeReport } from "./volume-report.ts";

/** Work in the background that can be waited for. */
export const ACTIVITIES = ["resync", "detach", "scrub"] as const;

/** A verb for the copies of a mounted volume. What its arguments are only the verb itself knows, which checks them. */
export const VerbCall = z.object({ verb: z.string(), args: z.record(z.string(), z.unknown()) });
export type VerbCall = z.infer<typeof VerbCall>;

/** Everything needed to mount one volume; all paths are absolute. */
export const MountRequest = z.strictObject({
  /** What the mount table shows. */
  source: z.string(),
  targets: z.array(z.string()).min(1),
  directory: z.string(),
  options: MountOptions,
});
export type MountRequest = z.infer<typeof MountRequest>;

/** Exit codes of the mount commands, after mount(8). */
export const MountExit = { OK: 0, USAGE: 1, SYSTEM: 2, FAILURE: 32 } as const;

const Failed = z.object({ type: z.literal("failed"), message: z.string(), exitCode: z.number() });

/** From the supervisor to the mount command. */
export const StartReport = z.discriminatedUnion("type", [
  /** The mount is live; what the operator should know of it nevertheless, a line each. */
  z.object({ type: z.literal("ready"), warnings: z.array(z.string()) }),
  Failed,
]);
export type StartReport = z.infer<typeof StartReport>;

/** From the supervisor to the worker. */
export const WorkerOrder = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("start"),
    request: MountRequest,
    takeOver: z.boolean(),
    /** The volume that is mounted, to whoever takes over. */
    volumeUuid: z.string().optional(),
    heartbeatNonce: z.string().optional(),
    /** The supervisor brings notices to the kernel. One of an earlier build does not say. */
    bringsNotices: z.boolean().default(false),
  }),
  /** What the kernel said to a notice. */
  z.object({ type: z.literal("noticed"), id: z.number(), result: z.number() }),
  /** Commit and end; another worker goes on with the mount. */
  z.object({ type: z.literal("leave") }),
  /** The kernel knows the mount now: serve it. */
  z.object({ type: z.literal("serve") }),
  z.object({ type: z.literal("status"), id: z.number() }),
  z.object({ type: z.literal("sync"), id: z.number() }),
  VerbCall.extend({ type: z.literal("verb"), id: z.number() }),
]);
export type WorkerOrder = z.infer<typeof WorkerOrder>;

/** From the worker to the supervisor. */
export const WorkerReport = z.discriminatedUnion("type", [
  z.object({ type: z.literal("opened"), volumeUuid: z.string(), warnings: z.array(z.string()) }),
  /** What is to be said of the mount because of what was agreed on with the kernel. */
  z.object({ type: z.literal("serving"), warnings: z.array(z.string()).default([]) }),
  /** To be brought to the kernel, in base64. */
  z.object({ type: z.literal("notice"), id: z.number(), message: z.string() }),
  /** Every request that the worker before left unanswered is answered. */
  z.object({ type: z.literal("settled") }),
  /** The copies are here now: what another worker is to open. */
  z.object({ type: z.literal("targets"), targets: z.array(z.string()).min(1) }),
  /** Something about the devices to be kept was sent over their socket. */
  z.object({ type: z.literal("devices") }),
  /** Everything is committed: the next worker may take over. */
  z.object({ type: z.literal("left") }),
  Failed,
  z.object({
    type: z.literal("answer"),
    id: z.number(),
    error: z.string().optional(),
    exitCode: z.number().optional(),
    volume: VolumeReport.optional(),
  }),
  /** The last word: the mount is gone and this is how the final commit went. */
  z.object({ type: z.literal("ended"), error: z.string().optional() }),
]);
export type WorkerReport = z.infer<typeof WorkerReport>;

/** From a command to the control socket. */
export const ControlRequest = z.discriminatedUnion("call", [
  z.object({ call: z.enum(["ping", "status", "sync", "waitForExit"]) }),
  VerbCall.extend({ call: z.literal("verb") }),
  /** Another worker, started from this program, takes over. */
  z.object({ call: z.literal("upgrade"), worker: z.string() }),
]);
export type ControlRequest = z.infer<typeof ControlRequest>;

export const DaemonReport = z.object({
  supervisorPid: z.number(),
  workerPid: z.number(),
  /** How often a worker died or was replaced and another one took over. */
  restarts: z.number().default(0),
  /** A process that waits to become the next worker. */
  sparePid: z.number().optional(),
  /** It hands over all devices, however many. A supervisor of an earlier build does not say. */
  handsOverAll: z.boolean().optional(),
  transport: z.string(),
  directory: z.string(),
  source: z.string(),
  targets: z.array(z.string()),
});
export type DaemonReport = z.infer<typeof DaemonReport>;

/** From the control socket to a command. */
export const ControlReply = z.object({
  error: z.string().optional(),
  /** With an error of a verb: what its command exits with. */
  exitCode: z.number().optional(),
  daemon: DaemonReport.optional(),
  volume: VolumeReport.optional(),
  /** Recent lines of the log, oldest first. */
  notes: z.array(z.string()).optional(),
});
export type ControlReply = z.infer<typeof ControlReply>;
