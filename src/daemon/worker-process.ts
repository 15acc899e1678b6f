// The supervisor's view of its worker: starts the process, passes orders and answers, tells how it ended. What the worker
// prints goes to the log, so that even a crash of the runtime itself leaves its last words there.

import { type ChildProcess, spawn, type StdioOptions } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Send, sender } from "../fuse/kernel/notices.ts";
import { HANDED, HandOver } from "./hand-over.ts";
import { INHERITED_VARIABLE, type KeptDevices } from "./kept-devices.ts";
import { MountExit, WorkerReport, type MountRequest, type VerbCall, type WorkerOrder } from "./messages.ts";
import type { DaemonLog } from "./daemon-log.ts";
import { WORKING_THREADS } from "./helper-threads.ts";
import { MountError } from "./start-mount.ts";
import { unreadableReport } from "./unreadable.ts";
import type { VolumeReport } from "./volume-report.ts";

/** Program of a worker of this installation. */
export const WORKER = fileURLToPath(new URL("../daemon/worker-main.js", import.meta.url));
/** A process that was killed is gone by then. */
const GONE_MS_MAX = 2000;
// Device calls run on libuv's threads: with its four, one hung disk would stop every other copy (src/device/gate.ts).
const THREADS = "64";
const MALLOC = {
  // The threads only make system calls: an arena for each would keep what nobody else can use.
  MALLOC_ARENA_MAX: "2",
  // The largest blocks, which most memory goes to, are mapped each by itself: their pages go as soon as they are freed.
  MALLOC_MMAP_THRESHOLD_: "65536",
};
// Requests leave little garbage, of which all is dead soon: collecting it often is cheap, and V8's 16 MiB twice are not.
// The collector is asked for when many blocks were freed (src/base/free-memory.ts).
// Helping threads would take longer to wake up than collecting so little does.
const V8_OPTIONS = [
  "--max-semi-space-size=4",
  "--no-parallel-scavenge",
  // Blocks count as the collector's, so a cache that fills up makes it look through everything every few hundred files, for what it
  // will find in use. The first time is when so many MB are: by then there is garbage to be had.
  "--initial-heap-size=96",
  "--expose-gc",
  `--v8-pool-size=${WORKING_THREADS}`,
];

export interface WorkerEnding {
  /** Undefined when the worker committed everything and ended in order. */
  readonly error: string | undefined;
  /** The mount is there still: it left for another worker, or it died without having said why it must end. */
  readonly goesOn: boolean;
  /** It died by a signal that it did not send to itself, as far as one can tell. */
  readonly killed: boolean;
  /** It saw the mount gone. */
  readonly unmounted?: true;
}

/** What all workers of one mount share. */
export interface WorkerLegacy {
  /** Absent when the transport can't outlive its process. */
  readonly kernel?: { readonly fuseFd: number; readonly memoryFd: number; readonly devices: KeptDevices } | undefined;
  readonly heartbeatNonce: Uint8Array;
}

export interface Answer {
  readonly error?: string | undefined;
  readonly exitCode?: number | undefined;
  readonly volume?: VolumeReport | undefined;
}

/** What a worker can be asked that it answers. */
type Question = { readonly type: "status" | "sync" } | ({ readonly type: "verb" } & VerbCall);

/** What a worker is to begin with. */
export interface WorkerStart {
  readonly request: MountRequest;
  readonly legacy: WorkerLegacy;
  /** The mount was served by another worker before. */
  readonly takeOver: boolean;
  /** The volume that is mounted, by a worker before it. */
  readonly volumeUuid?: string | undefined;
}

export class WorkerProcess {
  readonly pid: number;
  readonly program: string;
  /** Resolves when the process is reaped, or has seen the mount gone and can't end; never rejects. */
  readonly ended: Promise<WorkerEnding>;
  readonly #child: ChildProcess;
  readonly #log: DaemonLog;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  readonly #milestones = new Map<WorkerReport["type"], () => void>();
  /** Called when it let go of a device that the supervisor held. */
  onReleased: () => void = () => undefined;
  /** What the operator should know although the mount succeeded. */
  warnings: string[] = [];
  /** Known once it has opened the volume. */
  volumeUuid: string | undefined;
  /** It has answered what the worker before it left unanswered; true for one that took over nothing. */
  settled = false;
  /** Where the copies are, as far as it told. */
  targets: readonly string[] = [];
  readonly #handOver: HandOver;
  #devices: KeptDevices | undefined;
  /** Brings notices to the kernel. */
  #bring: Send | undefined;
  #nextId = 1;
  #lastLine = "";
  #failed: MountError | undefined;
  #farewell: WorkerEnding | undefined;
  #ending: WorkerEnding | undefined;
  #onSettled: (ending: WorkerEnding) => void = () => undefined;

  /**
   * Starts the process, which loads its program and waits. `directory`: for whoever reads `ps`. Throws when the system lacks something
   * for that; it may as well be that the worker ends at once.
   */
  constructor(program: string, directory: string, log: DaemonLog, devices?: KeptDevices) {
    this.#log = log;
    this.program = program;
    this.#handOver = new HandOver();
    try {
      this.#child = this.#spawn(directory, devices);
    } catch (error) {
      this.#handOver.close();
      throw error;
    }
    const child = this.#child;
    this.#handOver.passedOn();
    this.pid = child.pid ?? 0;
    // Where it could not be started there are none.
    for (const stream of [child.stdout, child.stderr] as (NodeJS.ReadableStream | null | undefined)[])
      this.#logLines(stream);
    child.on("message", (message) => this.#take(message));
    this.ended = new Promise((resolve) => (this.#onSettled = resolve));
    // The system may have what it lacks for a process in a moment.
    child.on("error", (error) =>
      this.#settle({ error: `the worker can't be started: ${error.message}`, goesOn: true, killed: false }),
    );
    child.on("close", (code, signal) => {
      if (this.#farewell !== undefined && (code === 0 || this.#farewell.unmounted)) return this.#settle(this.#farewell);
      const how = `the worker died (${signal ?? `exit code ${code}`})`;
      this.#settle({
        error: this.#failed?.message ?? (this.#lastLine === "" ? how : `${how}: ${this.#lastLine}`),
        goesOn: this.#failed === undefined,
        killed: signal === "SIGKILL" || signal === "SIGTERM",
      });
    });
  }

  #settle(ending: WorkerEnding): void {
    this.#ending ??= ending;
    this.#handOver.close();
    const instead = ending.goesOn ? "another worker took over meanwhile; ask again" : "the volume is unmounted";
    for (const answer of this.#answers.values()) answer({ error: ending.error ?? instead });
    this.#answers.clear();
    this.#onSettled(this.#ending);
  }

  #spawn(directory: string, devices: KeptDevices | undefined): ChildProcess {
    const stdio: StdioOptions & unknown[] = ["ignore", "pipe", "pipe", "ipc", this.#handOver.theirs];
    // What has one of the first numbers here is not passed on: these numbers are something else there.
    const inherited = devices?.inherited.filter((fd) => fd >= stdio.length) ?? [];
    return spawn(process.execPath, [...V8_OPTIONS, this.program, directory], {
      cwd: "/",
      env: {
        ...process.env,
        UV_THREADPOOL_SIZE: THREADS,
        ...MALLOC,
        [INHERITED_VARIABLE]: inherited.join(" "),
      },
      stdio,
    });
  }

  /** Has it open the volume, with what the workers before it left; `reach("opened")` tells when it has. */
  start({ request, legacy, takeOver, volumeUuid }: WorkerStart): void {
    this.targets = request.targets;
    this.settled = !takeOver;
    const { kernel } = legacy;
    this.#devices = kernel?.devices;
    this.#bring = kernel && sender(kernel.fuseFd);
    // What the worker before this one sent last.
    kernel?.devices.receive();
    const heartbeatNonce = Buffer.from(legacy.heartbeatNonce).toString("hex");
    // First: it reads what it is handed when it has this.
    this.#send({ type: "start", request, takeOver, heartbeatNonce, volumeUuid, bringsNotices: true });
    this.#handOver.give(
      kernel === undefined
        ? []
        : [
            [HANDED.fuse, kernel.fuseFd],
            [HANDED.memory, kernel.memoryFd],
            [HANDED.keeper, kernel.devices.socketFd],
            ...kernel.devices.held,
          ],
    );
  }

  #logLines(stream: NodeJS.ReadableStream | null | undefined): void {
    let pending = "";
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (pending + chunk).split("\n");
      pending = (lines.pop() ?? "").slice(-4096);
      for (const line of lines) {
        if (line.trim() === "") continue;
        // Of a stack trace the line that says what happened, not the last of its places.
        if (/error|fatal|fault/i.test(line) || !/^\s+at |^ *\d+: /.test(line)) this.#lastLine = line.trim();
        this.#log.line(line);
      }
    });
  }

  #take(message: unknown): void {
    const parsed = WorkerReport.safeParse(message);
    if (!parsed.success) return this.#puzzleOver(message);
    this.#note(parsed.data);
  }

  /** Of a worker of another version. One that can't be followed to where it serves is of no use. */
  #puzzleOver(message: unknown): void {
    const { line = "", instead } = unreadableReport(message) ?? {};
    this.#log.line(line);
    if (instead === undefined) return;
    this.#note(instead);
    if (instead.type === "failed") void this.kill();
  }

  #note(report: WorkerReport): void {
    if (report.type === "answer") {
      this.#answers.get(report.id)?.(report);
      this.#answers.delete(report.id);
    } else if (report.type === "notice") {
      const { id, message } = report;
      void this.#bring?.(Buffer.from(message, "base64")).then((result) => this.#send({ type: "noticed", id, result }));
    } else if (report.type === "ended") this.#expectEnd(report.error);
    else if (report.type === "left") this.#farewell = { error: undefined, goesOn: true, killed: false };
    else if (report.type === "settled") this.settled = true;
    else if (report.type === "failed") this.#failed = new MountError(report.message, report.exitCode);
    else if (report.type === "targets") this.targets = report.targets;
    else if (report.type === "devices") {
      if (this.#devices?.receive() === true) this.onReleased();
    } else if (report.type === "opened" || report.type === "serving") this.warnings.push(...report.warnings);
    if (report.type === "opened") this.volumeUuid = report.volumeUuid;
    this.#milestones.get(report.type)?.();
  }

  /** The mount is gone and its last word said. Nobody waits for a call on a device that hangs, which keeps it from ending. */
  #expectEnd(error: string | undefined): void {
    const farewell = { error, goesOn: false, killed: false, unmounted: true } as const;
    this.#farewell = farewell;
    void sleep(GONE_MS_MAX, undefined, { ref: false }).then(() => this.#settle(farewell));
  }

  #send(order: WorkerOrder): void {
    // A worker that just died can't be told anything; its end is reported by `ended`.
    if (this.#child.connected) this.#child.send(order, () => {});
  }

  /** Resolves when the worker reports `milestone`; throws {@link MountError} when it fails or dies before. */
  async reach(milestone: "opened" | "serving"): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#milestones.set(milestone, resolve);
      this.#milestones.set("failed", () => reject(this.#failed ?? new MountError("the worker failed to start")));
      void this.ended.then(({ error }) =>
        reject(this.#failed ?? new MountError(error ?? "the mount ended while starting", MountExit.SYSTEM)),
      );
    });
  }

  /** Why its program does not come up, unless it does: then it waits for its orders. */
  async refusal(waitMs: number): Promise<string | undefined> {
    // Any worker answers that, were it that it has mounted nothing yet.
    const answered = this.ask({ type: "status" }).then(() => undefined);
    const late = sleep(waitMs, `it does not answer within ${waitMs} ms`, { ref: false });
    const refusal = await Promise.race([answered, late]);
    return this.#ending === undefined ? refusal : (this.#ending.error ?? "it ended at once");
  }

  serve(): void {
    this.#send({ type: "serve" });
  }

  /** True when it can't be asked any more, also where its process is there still (see `ended`). */
  get isGone(): boolean {
    return this.#ending !== undefined || !this.#child.connected;
  }

  /** Asks the worker to commit and to leave the mount to another one; `ended` tells how that went. */
  leave(): void {
    this.#send({ type: "leave" });
  }

  /** Asks for a report of the volume, for a barrier, or to carry out a verb. */
  ask(question: Question): Promise<Answer> {
    if (this.isGone) return Promise.resolve({ error: "the worker is gone" });
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#answers.set(id, resolve);
      this.#send({ ...question, id });
    });
  }

  /** Resolves when it is gone; or after a moment, when it does not end because it is inside a call on a device that hangs. */
  async kill(): Promise<void> {
    // What it was not handed yet may be closed from now on.
    this.#handOver.close();
    this.#child.kill("SIGKILL");
    await Promise.race([this.ended, sleep(GONE_MS_MAX, undefined, { ref: false })]);
  }
}
