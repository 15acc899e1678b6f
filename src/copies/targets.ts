// Targets as people give them: one copy each, `a.img+nbd://host/b` for a row of nodes. Opening them locks them.

import { stat } from "node:fs/promises";
import { type TimeLimit, withinLimit } from "../base/time-limit.ts";
import { type BlockDevice, DeviceError } from "../device/device.ts";
import { Gate, ROW_CALLS_IN_FLIGHT_MAX } from "../device/gate.ts";
import { deviceIdentity } from "../device/identity.ts";
import { OpenError } from "../device/open-error.ts";
import { type OpenDevice, openDevice } from "../nbd/open.ts";
import { isRemoteTarget, parseRemoteTarget } from "../nbd/target.ts";
import { CopiesError, isSyntax } from "./errors.ts";
import { nodesIn } from "./target-nodes.ts";

/** What a disk that was taken away, or is dying, answers when it is opened. */
const ABSENT: ReadonlySet<string> = new Set([
  ...["ENOENT", "ENXIO", "ENODEV", "EIO", "ENOMEDIUM", "ENOTCONN", "ESTALE", "ETIMEDOUT"],
]);

/** How long to wait for a device to open: a disk that has to spin up first needs some seconds. */
export const OPEN_MS_DEFAULT = 30_000;

/** A target whose devices are open, in the order given. */
export interface OpenTarget {
  readonly name: string;
  readonly devices: readonly BlockDevice[];
}

export interface OpenTargetsOptions {
  readonly writable: boolean;
  /** What a target that is not there fails with is noted here, and it is left out, as long as another one is there. */
  readonly absent?: Error[];
  /** One that can't be opened for whatever other reason is left out like that, too. */
  readonly takesOver?: boolean | undefined;
  /** A device that takes longer to answer is not there. */
  readonly limit?: TimeLimit | undefined;
  /** What opens each node; paths and remote nodes as usual unless given. */
  readonly open?: OpenDevice | undefined;
}

/**
 * Opens all nodes of all targets; closes what it opened when one fails. One that is in use, or of the wrong kind, is refused unless
 * somebody takes over. Rejects with CopiesError or DeviceError; ETIMEDOUT is the code of one that did not answer in time.
 */
export async function openTargets(
  targets: readonly string[],
  { writable, absent, takesOver = false, limit, open = openDevice }: OpenTargetsOptions,
): Promise<OpenTarget[]> {
  const opened: OpenTarget[] = [];
  const isForgiven = takesOver ? isOfTarget : isAbsence;
  const leaveOut = (error: unknown): void => {
    if (absent === undefined || !isForgiven(error)) throw error;
    absent.push(error);
  };
  try {
    const looks = await Promise.allSettled(targets.map((name) => answering(name, limit, () => lookAt(name))));
    const seen = new Map<string, string>();
    const twins = looks.map((look) => (look.status === "fulfilled" ? twinIn(look.value, seen) : undefined));
    const twin = twins.find((refusal) => refusal !== undefined);
    if (twin !== undefined && !takesOver) throw twin;
    for (const [i, look] of looks.entries()) {
      const name = targets[i] as string;
      try {
        if (look.status === "rejected") throw absent === undefined ? look.reason : absenceOf(name, look.reason);
        if (twins[i] !== undefined) throw twins[i];
        const nodes = look.value.map(({ node }) => node);
        opened.push(await answering(name, limit, () => openTarget(name, nodes, writable, open), closeTarget));
      } catch (error) {
        leaveOut(error);
      }
    }
    if (opened.length === 0 && absent !== undefined && absent.length > 0) throw mostHopeful(absent);
    return opened;
  } catch (error) {
    await closeTargets(opened);
    throw error;
  }
}

/**
 * Whoever does without a target that is not there was given whole paths, looked at before: where a node seems to have no name there
 * are plus signs in a path, and nothing is there.
 */
const absenceOf = (name: string, error: unknown): unknown =>
  name !== "" && isSyntax(error) ? new OpenError(name, "open", "ENOENT", "no such file or device") : error;

const isAbsence = (error: unknown): error is DeviceError => error instanceof DeviceError && ABSENT.has(error.code);

/** It says something about one target, and nothing about the others. */
export const isOfTarget = (error: unknown): error is DeviceError | CopiesError =>
  error instanceof DeviceError || error instanceof CopiesError;

/** A device did not answer in time; it may still do so. */
export const isSilent = (error: unknown): boolean => error instanceof DeviceError && error.code === "ETIMEDOUT";

/** Of several reasons why there is nothing, one that may pass if there is any: devices answer, servers come back, and locks end. */
export function mostHopeful(errors: readonly Error[]): Error {
  const passing = errors.find(
    (error) => error instanceof DeviceError && (error.operation === "lock" || error.code === "ENOTCONN"),
  );
  return errors.find(isSilent) ?? passing ?? (errors[0] as Error);
}

async function openTarget(
  name: string,
  nodes: readonly string[],
  writable: boolean,
  open: OpenDevice,
): Promise<OpenTarget> {
  const devices: BlockDevice[] = [];
  try {
    const row = new Gate(ROW_CALLS_IN_FLIGHT_MAX);
    for (const node of nodes) {
      const device = await open(node, { writable });
      if (nodes.length > 1) device.shareThreads?.(row);
      devices.push(device);
    }
    return { name, devices };
  } catch (error) {
    await closeTarget({ name, devices });
    throw error;
  }
}

/** Calls on targets that were given up and are under way still. Each holds a thread: nothing more is asked of such a target. */
const unanswered = new Map<string, Promise<void>>();

/** Does `work` on a target within `limit`; what it gives too late goes to `discard`. */
async function answering<T>(
  name: string,
  limit: TimeLimit | undefined,
  work: () => Promise<T>,
  discard: (late: T) => Promise<void> = () => Promise.resolve(),
): Promise<T> {
  const silent = (): Error =>
    new OpenError(
      name,
      "open",
      "ETIMEDOUT",
      `does not answer (waited ${limit?.ms} ms); try again when its device does`,
    );
  const earlier = unanswered.get(name);
  if (earlier !== undefined) await withinLimit(earlier, limit, silent);
  let isLate = false;
  const running = work();
  const over = running.then(
    (result) => (isLate ? discard(result) : undefined),
    () => undefined,
  );
  return withinLimit(running, limit, () => {
    isLate = true;
    noteUnanswered(name, over);
    return silent();
  });
}

function noteUnanswered(name: string, over: Promise<void>): void {
  const gone = over.finally(() => {
    if (unanswered.get(name) === gone) unanswered.delete(name);
  });
  unanswered.set(name, gone);
}

/** True while a call is under way on a target that was given up. */
export const isUnanswered = (name: string): boolean => unanswered.has(name);

/** Closes a target that may not even do that; opening it again waits until it has. */
export function abandonTarget(target: OpenTarget): void {
  noteUnanswered(target.name, closeTarget(target));
}

export async function closeTarget(target: OpenTarget): Promise<void> {
  await closeTargets([target]);
}

export async function closeTargets(targets: readonly OpenTarget[]): Promise<void> {
  await Promise.allSettled(targets.flatMap((target) => target.devices.map((device) => device.close())));
}

interface Look {
  readonly node: string;
  /** The same for two paths to one device; undefined where nothing is. */
  readonly identity: string | undefined;
}

/** The nodes of a target. Not by a synchronous call: one that hangs would hold up everybody. */
async function lookAt(target: string): Promise<Look[]> {
  // A row may begin with a remote node: only a path can be taken as it is.
  const whole = isRemoteTarget(target) ? undefined : await identityOf(target);
  const nodes = nodesIn(target, whole !== undefined);
  if (whole !== undefined) return [{ node: target, identity: whole }];
  const row = new Gate(ROW_CALLS_IN_FLIGHT_MAX);
  return Promise.all(nodes.map((node) => row.run(async () => ({ node, identity: await identityOf(node) }))));
}

/** Why a target is refused that has a device of those seen before; undefined when it has none, and then its own are seen, too. */
function twinIn(looks: readonly Look[], seen: Map<string, string>): CopiesError | undefined {
  const own = new Map<string, string>();
  for (const { node, identity } of looks) {
    if (identity === undefined) continue;
    const twin = seen.get(identity) ?? own.get(identity);
    if (twin !== undefined) {
      const same = twin === node ? "" : ` (it is the same as ${twin})`;
      return new CopiesError("twice", node, `is given twice${same}; give each device once`);
    }
    own.set(identity, node);
  }
  for (const [identity, node] of own) seen.set(identity, node);
  return undefined;
}

/** Undefined where nothing can be looked at; opening tells why. */
async function identityOf(path: string): Promise<string | undefined> {
  // That one export goes by two names its header will tell.
  if (isRemoteTarget(path)) return parseRemoteTarget(path).text;
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats === undefined ? undefined : deviceIdentity(stats);
}
