// h2ts export: serves images, devices and rows of nodes to NBD clients, in the foreground, until it is told to end.

import type { Command } from "commander";
import { SystemClock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import { closeTargets, openTargets, type OpenTarget } from "../copies/targets.ts";
import { DaemonLog } from "../daemon/daemon-log.ts";
import type { BlockDevice } from "../device/device.ts";
import { FileNode } from "../device/file-node.ts";
import { GatheringDevice } from "../device/gathering.ts";
import { openNode } from "../device/open.ts";
import { Row } from "../device/row.ts";
import { openDevice, type OpenDevice } from "../nbd/open.ts";
import { isRemoteTarget } from "../nbd/target.ts";
import { Catalogue } from "../nbd/server/catalogue.ts";
import { Export } from "../nbd/server/export.ts";
import { DeviceLeaseRecord, type LeaseRecord, NO_RECORD } from "../nbd/server/lease-record.ts";
import { formatListenAddress } from "../nbd/server/listen-address.ts";
import { NbdServer } from "../nbd/server/server.ts";
import { type ExportFlags, type ExportPlan, planExport } from "./export-plan.ts";
import { ensureThreads } from "./thread-pool.ts";

// What comes from the network lies in buffers outside of V8's heap, which are freed when it collects its youngest objects. With
// little room for those it does so often, and cheaply; with much, memory outside grows until it has to collect everything.
const V8_OPTIONS = ["--max-semi-space-size=1"];

const HELP = `
ADDR is HOST:PORT, [V6]:PORT or unix:PATH (default 127.0.0.1:10809); --listen may be given several times.
WHO is an IP address, a network (192.0.2.0/24), or an identity: that of a pre-shared key, or the common name of a certificate.
With =EXPORT behind it, it is let in there only. Without --allow, whoever can connect is.
With --psk-file or --tls-cert nothing is served in plaintext, unless --tls allows it. MODE is require, allow or off. The file of
keys has lines of IDENTITY:KEY, the key in hex, as psktool writes them.
SIGTERM ends the server when all requests under way are answered and everything is flushed.`;

const all = (text: string, before: string[]): string[] => [...before, text];

export function addExport(program: Command): void {
  program
    .command("export")
    .description("serve images, devices or rows of nodes over NBD, in the foreground")
    .usage("[-r] [--listen ADDR]... [--allow WHO[=EXPORT]]... [--psk-file FILE] [NAME=]TARGET...")
    .argument("[targets...]", "what to serve; named after the file, or NAME=TARGET")
    .option("-l, --listen <ADDR>", "where to listen", all, [])
    .option("-r, --read-only", "let nobody write")
    .option("--allow <WHO>", "whom to let in", all, [])
    .option("--tls <MODE>", "require TLS, allow it, or off (default: require where there are keys)")
    .option("--psk-file <FILE>", "pre-shared keys of the clients")
    .option("--tls-cert <FILE>", "certificate of the server, PEM")
    .option("--tls-key <FILE>", "key of the certificate, PEM")
    .option("--tls-ca <FILE>", "let in only clients with a certificate signed by this one, PEM")
    .option("--lease <SECONDS>", "how long the lease of a client whose connection broke is kept for it (default 20)")
    .option("--connections <COUNT>", "connections of all clients at most (default 64)")
    .option("--requests <COUNT>", "requests under way on a connection at most (default 64)")
    .addHelpText("after", HELP)
    .action(async (words: string[], flags: ExportFlags) => {
      const log = DaemonLog.toStderr(() => new Date());
      const plan = planExport(words, flags, (line) => log.line(`warning: ${line}`));
      ensureThreads(
        plan.exports.reduce((sum, { nodes }) => sum + nodes, 0),
        V8_OPTIONS,
      );
      await serve(plan, (line) => log.line(line));
    });
}

async function serve(plan: ExportPlan, log: (line: string) => void): Promise<void> {
  const asked = endAsked();
  const targets = await openTargets(
    plan.exports.map(({ target }) => target),
    { writable: !plan.readOnly, open: openToServe },
  );
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
    try {
      for (const address of plan.addresses) log(`listening on ${formatListenAddress(await server.listen(address))}`);
      for (const { name, device } of exports) log(`serving "${name}": ${device.name}, ${device.sizeBytes} bytes`);
      log(`${await asked}: finishing what is under way`);
    } finally {
      for (const error of await server.drain()) {
        process.exitCode = 1;
        log(`not everything is durable: ${error.message}`);
      }
    }
  } finally {
    await closeTargets(targets);
  }
  log("ended");
}

/** Nobody but the kernel caches what is served from here. */
const openToServe: OpenDevice = (node, { writable }) =>
  isRemoteTarget(node) ? openDevice(node, { writable }) : openNode(node, { writable, keepsCached: true });

function deviceOf({ devices }: OpenTarget): BlockDevice {
  const nodes = devices.map((device) => new GatheringDevice(device));
  return nodes.length === 1 ? (nodes[0] as BlockDevice) : new Row(nodes);
}

/** What others reach as well is not known again after a restart. */
function recordOf({ devices }: OpenTarget, readOnly: boolean): LeaseRecord {
  const known = devices.flatMap((device) => (device instanceof FileNode ? [device.incarnation] : []));
  return readOnly || known.length < devices.length ? NO_RECORD : new DeviceLeaseRecord(known);
}

/** The signal that asks for the end. A second one ends the process at once, as if there were nobody to hear it. */
function endAsked(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, resolve);
  });
}
