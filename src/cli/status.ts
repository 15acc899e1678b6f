// h2ts status: the state of a mounted volume, of volumes at rest by their targets, or of all mounts.

import { statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { outputIsRead } from "../base/output.ts";
import { UsageError } from "../base/usage-error.ts";
import { mountedVolumeAt, mountedVolumes, type MountedVolume } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { daemonOf, volumeNamed, workerAnswer } from "./daemon-of.ts";
import { reportFailure } from "./failure.ts";
import { resolveTarget, servedSomewhere } from "./mount-preparation.ts";
import { mountedReport, type StatusReport } from "./status-report.ts";
import { statusText } from "./status-text.ts";
import { ensureThreadsFor } from "./thread-pool.ts";

const HELP = `
With a mount point: the volume mounted there. With targets: the volume on them, mounted or not.
Without either: every mounted volume. -j prints one JSON object, or an array of them for all mounts.`;

interface Flags {
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly watch?: string | true;
}

export function addStatus(program: Command): void {
  program
    .command("status")
    .description("show the state of volumes and their copies")
    .usage("[-jv] [--watch [SECONDS]] [DIR | TARGET...]")
    .argument("[DIR | TARGET...]")
    .option("-j, --json", "print JSON")
    .option("-v, --verbose", "show what each node is and how it goes with it")
    .option("-w, --watch [SECONDS]", "again every SECONDS (1 unless given), until interrupted")
    .addHelpText("after", HELP)
    .action(async (words: string[], flags: Flags) => {
      if (flags.watch === undefined) return console.log(await statusOf(words, flags));
      const seconds = flags.watch === true ? 1 : Number(flags.watch);
      if (!(seconds >= 0.1 && seconds <= 3600)) throw new UsageError("--watch takes seconds from 0.1 to 3600");
      while (outputIsRead()) {
        const text = await statusOf(words, flags);
        // The screen is cleared only once there is something new to show.
        console.log(process.stdout.isTTY ? `\u001b[H\u001b[2J${text}` : `${text}\n`);
        await sleep(seconds * 1000);
      }
    });
}

async function statusOf(words: readonly string[], { json, verbose = false }: Flags): Promise<string> {
  if (words.length > 0) {
    const report = await reportOf(words);
    return json ? JSON.stringify(report, null, 2) : statusText(report, verbose);
  }
  const answers = await Promise.allSettled(mountedVolumes().map(reportOfMount));
  const reports = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
  // One daemon that does not answer must not hide the others.
  for (const answer of answers) {
    if (answer.status === "rejected") process.exitCode = reportFailure("h2ts", answer.reason);
  }
  if (json) return JSON.stringify(reports, null, 2);
  return answers.length === 0
    ? "no h2ts volumes are mounted"
    : reports.map((report) => statusText(report, verbose)).join("\n\n");
}

async function reportOf(words: readonly string[]): Promise<StatusReport> {
  const [first] = words as [string];
  const named = words.length === 1 ? volumeNamed(first) : undefined;
  if (named) return reportOfMount(named);
  if (words.length === 1 && statSync(first, { throwIfNoEntry: false })?.isDirectory()) {
    throw new MountError(`${first}: no h2ts volume is mounted here`);
  }
  const targets = words.map(resolveTarget);
  const inUse = await servedSomewhere(targets.slice(0, 1));
  const mount = inUse === undefined ? undefined : mountedVolumeAt(inUse.directory);
  if (mount) return reportOfMount(mount);
  ensureThreadsFor(targets);
  // Loaded here only: the other commands do not need the volume.
  const { readVolumeReport } = await import("../daemon/open-volume.ts");
  return { ...(await readVolumeReport(targets)), notes: [] };
}

async function reportOfMount(mount: MountedVolume): Promise<StatusReport> {
  const client = await daemonOf(mount);
  const reply = await workerAnswer(client, mount);
  client.close();
  if (reply.volume === undefined) throw new MountError(`${mount.directory}: ${reply.error ?? "it tells nothing"}`);
  return mountedReport(reply, reply.volume);
}
