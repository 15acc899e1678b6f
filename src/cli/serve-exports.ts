// What h2ts export does: opens what it was given, and serves it until a signal says that it is enough.

import { SystemClock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import { closeTargets, openTargets, type OpenTarget } from "../copies/targets.ts";
import { DaemonLog } from "../daemon/daemon-log.ts";
import type { BlockDevice } from "../device/device.ts";
import { FileNode } from "../device/file-node.ts";
import { GatheringDevice } from "../device/gathering.ts";
import { openNode } from "../device/open.ts";
import { Row } from "../device/row.ts";
import { describeEvent, type NodeObserver } from "../nbd/client/events.ts";
import { deviceOpener, type OpenDevice } from "../nbd/open.ts";
import { isRemoteTarget } from "../nbd/target.ts";
import { Catalogue } from "../nbd/server/catalogue.ts";
import { Export } from "../nbd/server/export.ts";
import { DeviceLeaseRecord, type LeaseRecord, NO_RECORD } from "../nbd/server/lease-record.ts";
import { formatListenAddress } from "../nbd/server/listen-address.ts";
import { NbdServer } from "../nbd/server/server.ts";
import { type ExportFlags, type ExportPlan, planExport } from "./export-plan.ts";
import { isGivenUp, reopened } from "./reopening.ts";
import { ensureThreads } from "./thread-pool.ts";

// What comes from the network lies in buffers outside of V8's heap, which are freed when it collects its youngest objects. With
// little room for those it does so often, and cheaply; with much, memory outside grows until it has to collect everything.
const V8_OPTIONS = ["--max-semi-space-size=1"];

/** Resolves when the server has ended. Throws UsageError for what the words and flags have wrong, DeviceError for what can't be opened. */
export async function serveExports(words: string[], flags: ExportFlags): Promise<void> {
  const log = DaemonLog.toStderr(() => new Date());
  const warnings: string[] = [];
  const plan = planExport(words, flags, (line) => warnings.push(line));
  ensureThreads(
    plan.exports.reduce((sum, { nodes }) => sum + nodes, 0),
    V8_OPTIONS,
  );
  // Not before: a process that begins anew comes here only the second time.
  for (const line of warnings) log.line(`warning: ${line}`);
  await serve(plan, (line) => log.line(line));
}

async function serve(plan: ExportPlan, log: (line: string) => void): Promise<void> {
  let isEnding = false;
  const asked = endAsked().finally(() => (isEnding = true));
  let onGivenUp: (node: string) => void = () => undefined;
  const open = openerOf(plan, ({ node, event }) => {
    log(describeEvent({ node, event }));
    if (event.kind === "gave-up") onGivenUp(node);
  });
  const opening = { writable: !plan.readOnly, open };
  const targets = await openTargets(
    plan.exports.map(({ target }) => target),
    opening,
  );
  /** Closing these would wait for what is under way; they end with the process. */
  const heldUp = new Set<OpenTarget>();
  try {
    const clock = new SystemClock();
    const random = new SystemRandom();
    const { readOnly, limits, tls, plaintextAllowed } = plan;
    const exports = plan.exports.map(({ name }, i) => {
      const target = targets[i] as OpenTarget;
      const options = { readOnly, leaseMs: limits.leaseMs, clock, random, record: recordOf(target, readOnly) };
      return new Export(name, deviceOf(target), options);
    });
    const catalogue = new Catalogue(exports, plan.allowList);
    const server = new NbdServer({ catalogue, limits, clock, tls, plaintextAllowed, log });
    const reopen = async (i: number): Promise<void> => {
      const { served, target } = { served: exports[i] as Export, target: targets[i] as OpenTarget };
      if (served.isAway || isEnding) return;
      targets[i] = await reopened({
        ...{ served, target, deviceOf, log },
        open: async () => (await openTargets([target.name], opening))[0] as OpenTarget,
        cut: () => server.cut(served),
        isEnding: () => isEnding,
      });
    };
    onGivenUp = (node) => void reopen(targets.findIndex(({ devices }) => devices.some(({ name }) => name === node)));
    // While the others were opened.
    for (const [i, target] of targets.entries()) if (isGivenUp(target)) void reopen(i);
    try {
      for (const address of plan.addresses) log(`listening on ${formatListenAddress(await server.listen(address))}`);
      for (const { name, device } of exports) log(`serving "${name}": ${device.name}, ${device.sizeBytes} bytes`);
      log(`${await asked}: finishing what is under way`);
    } finally {
      for (const { served, reason, isHeldUp } of await server.drain()) {
        process.exitCode = 1;
        log(`export "${served.name}": not everything is durable: ${reason.message}`);
        if (isHeldUp) heldUp.add(targets[exports.indexOf(served)] as OpenTarget);
      }
    }
  } finally {
    await closeTargets(targets.filter((target) => !heldUp.has(target)));
  }
  log("ended");
}

/** Nobody but the kernel caches what is served from here. */
function openerOf({ remoteTimeoutMs }: ExportPlan, observer: NodeObserver): OpenDevice {
  const openRemote = deviceOpener({ policy: { timeoutMs: remoteTimeoutMs }, observer });
  return (node, { writable }) =>
    isRemoteTarget(node) ? openRemote(node, { writable }) : openNode(node, { writable, keepsCached: true });
}

function deviceOf({ devices }: OpenTarget): BlockDevice {
  const nodes = devices.map((device) => new GatheringDevice(device));
  return nodes.length === 1 ? (nodes[0] as BlockDevice) : new Row(nodes);
}

/** What others reach as well is not known again after a restart. */
function recordOf({ devices }: OpenTarget, readOnly: boolean): LeaseRecord {
  const known = devices.flatMap((device) => (device instanceof FileNode ? [device.incarnation] : []));
  return readOnly || known.length < devices.length ? NO_RECORD : new DeviceLeaseRecord(known);
}

/** The signal that asks for the end. A second one, whichever of the two, ends the process at once, as if there were nobody to hear it. */
function endAsked(): Promise<NodeJS.Signals> {
  const signals = ["SIGTERM", "SIGINT"] as const;
  return new Promise((resolve) => {
    const first = (signal: NodeJS.Signals): void => {
      for (const each of signals) process.off(each, first);
      resolve(signal);
    };
    for (const signal of signals) process.on(signal, first);
  });
}
