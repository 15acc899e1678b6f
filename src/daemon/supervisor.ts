// The supervisor of one mount. It holds what must outlive a worker: the descriptor of /dev/fuse, the memory with what was
// completed, the heartbeat's nonce and the control socket. It starts the worker that does all the work, reaps it, and starts
// another one behind the same descriptor when it died or left (I4). It does so little itself that it does not die.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SystemClock } from "../base/clock.ts";
import { SystemRandom } from "../base/random.ts";
import { makeRuntimeFolder } from "../base/runtime-folder.ts";
import { messageOf } from "../base/thrown.ts";
import { NONCE_BYTES } from "../format/geometry.ts";
import { InitFlag2 } from "../fuse/kernel/abi.ts";
import { ControlServer } from "./control-server.ts";
import type { DaemonLog } from "./daemon-log.ts";
import { KernelConnection } from "./kernel-connection.ts";
import { MountExit, type ControlReply, type ControlRequest, type DaemonReport, type MountRequest } from "./messages.ts";
import { OwnMount } from "./own-mount.ts";
import { negotiatedIn } from "./shared-memory.ts";
import { type Death, Patience } from "./patience.ts";
import { SpareWorker } from "./spare-worker.ts";
import { MountError } from "./start-mount.ts";
import { type Answer, WORKER, type WorkerEnding, type WorkerLegacy, WorkerProcess } from "./worker-process.ts";

/** A program that takes longer to come up does not come up. */
const LOAD_MS_MAX = 30_000;

/** A new version that has not served yet. */
interface Trial {
  /** The worker whose place it takes. */
  readonly from: WorkerProcess;
  readonly programBefore: string;
  /** Runs that program as it was, even where the files of it are others by now. */
  readonly spareBefore: WorkerProcess | undefined;
  /** Why it did not serve. */
  refusal?: string;
}

export class Supervisor {
  /** Resolves when the mount is gone and the last worker reaped. */
  readonly ended: Promise<WorkerEnding>;
  readonly #clock = new SystemClock();
  readonly #request: MountRequest;
  readonly #log: DaemonLog;
  readonly #connection: KernelConnection | undefined;
  readonly #legacy: WorkerLegacy;
  #worker: WorkerProcess;
  readonly #spare: SpareWorker;
  #released: Promise<void> = Promise.resolve();
  /** The worker that serves; pending between two of them, rejected when there will be none. */
  #serving: Promise<WorkerProcess>;
  #program = WORKER;
  #trial: Trial | undefined;
  /** Resolves when nobody upgrades. */
  #upgrades: Promise<unknown> = Promise.resolve();
  #restarts = 0;
  /** When the worker began to serve; infinite while none does. */
  #servingSinceMs = this.#clock.monotonicMs();
  #control: ControlServer | undefined;
  #mount: OwnMount | undefined;
  readonly #volumeUuid: string | undefined;
  /** From then on another worker follows one that dies. */
  #begin: () => void = () => undefined;

  private constructor(
    request: MountRequest,
    log: DaemonLog,
    connection: KernelConnection | undefined,
    legacy: WorkerLegacy,
    worker: WorkerProcess,
  ) {
    this.#request = request;
    this.#log = log;
    this.#connection = connection;
    this.#legacy = legacy;
    this.#worker = worker;
    this.#serving = Promise.resolve(worker);
    this.#volumeUuid = worker.volumeUuid;
    this.#spare = new SpareWorker((program) => this.#spareWorker(program));
    this.#watchDevices(worker);
    this.ended = new Promise<void>((resolve) => (this.#begin = resolve)).then(() => {
      if (this.#canGoOn()) this.#spare.prepare(this.#program);
      return this.#supervise();
    });
  }

  /**
   * Mounts; resolves once programs can use the mount. Throws {@link MountError}, with nothing left behind, also when `asked`, that it
   * should end, resolves before.
   */
  static async start(request: MountRequest, log: DaemonLog, asked: Promise<void>): Promise<Supervisor> {
    // fuse-native mounts by itself, inside the worker, and ends with it.
    const connection = request.options.transport === "kernel" ? KernelConnection.open(request) : undefined;
    const heartbeatNonce = new SystemRandom().bytes(NONCE_BYTES);
    const legacy = { heartbeatNonce, kernel: connection };
    const stopped = asked.then(() => {
      throw new MountError(`${request.directory}: asked to stop before it was mounted`);
    });
    let supervisor: Supervisor | undefined;
    let worker: WorkerProcess | undefined;
    try {
      worker = new WorkerProcess(WORKER, request.directory, log);
      worker.start({ request, legacy, takeOver: false });
      await Promise.race([worker.reach("opened"), stopped]);
      connection?.mount();
      worker.serve();
      await Promise.race([worker.reach("serving"), stopped]);
      supervisor = new Supervisor(request, log, connection, legacy, worker);
      await supervisor.#listen();
      supervisor.#begin();
    } catch (error) {
      await worker?.kill();
      const refusal = await connection?.abandon();
      if (refusal !== undefined) log.line(refusal);
      throw error instanceof MountError
        ? error
        : new MountError(`${request.directory}: ${messageOf(error)}`, MountExit.SYSTEM);
    }
    log.line(`mounted ${request.source} on ${request.directory}`);
    for (const warning of worker.warnings) log.line(`warning: ${warning}`);
    return supervisor;
  }

  /** What the operator should know although the mount succeeded, a line each. */
  get warnings(): readonly string[] {
    return this.#worker.warnings;
  }

  // ---- workers

  /** Sees worker after worker off until the mount ends. */
  async #supervise(): Promise<WorkerEnding> {
    const patience = new Patience();
    for (let ended = this.#worker.ended; ; ) {
      const ending = await ended;
      // What another version can't do, its journal being of another form say, the one before it can.
      const isTrialOver = ending.error !== undefined && this.#trial !== undefined && this.#worker !== this.#trial.from;
      if (!(ending.goesOn || isTrialOver) || !this.#canGoOn()) return this.#finish(ending);
      const waitMs = ending.error === undefined ? 0 : patience.died(this.#deathBy(ending));
      if (waitMs === undefined) {
        return this.#finish({ ...ending, error: `${ending.error ?? ""}; ${patience.tries} workers in a row died` });
      }
      if (ending.error !== undefined) this.#log.line(`${ending.error}; another one takes over`);
      if (isTrialOver) this.#distrustUpgrade(ending.error);
      await sleep(waitMs);
      ended = this.#takeOver();
    }
  }

  #deathBy({ killed }: WorkerEnding): Death {
    const servedMs = Math.max(0, this.#clock.monotonicMs() - this.#servingSinceMs);
    return { servedMs, killed, settled: this.#worker.settled };
  }

  /** A new version that does not get to serve gives way to the one before. */
  #distrustUpgrade(refusal: string): void {
    if (this.#trial === undefined) return;
    this.#trial.refusal = refusal;
    this.#log.line(`${this.#program} does not serve; the version before takes over again`);
    this.#program = this.#trial.programBefore;
    void this.#spare.exchange(this.#trial.spareBefore)?.kill();
    this.#trial = undefined;
  }

  /** Only where the kernel sends unanswered requests again nobody notices. */
  #canGoOn(): boolean {
    const { kernel } = this.#legacy;
    const agreed = kernel === undefined ? undefined : negotiatedIn(kernel.memoryFd);
    return agreed !== undefined && (agreed.flags2 & InitFlag2.HAS_RESEND) !== 0;
  }

  /** A device that a worker let go of is free before whoever asked for that is told. */
  #watchDevices(worker: WorkerProcess): void {
    worker.onReleased = () => {
      const closed = this.#connection?.devices.closed();
      const all = Promise.all([this.#released, this.#spare.renew(this.#program), closed]);
      this.#released = all.then(() => undefined);
    };
  }

  #newWorker(program = this.#program): WorkerProcess {
    return new WorkerProcess(program, this.#request.directory, this.#log, this.#connection?.devices);
  }

  /** Does without one where there can't be any now: the worker itself does not need it. */
  #spareWorker(program: string): WorkerProcess | undefined {
    try {
      return this.#newWorker(program);
    } catch (error) {
      this.#log.line(`there is no spare worker: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** Resolves when the next worker has ended, which it has at once if it can't be started. */
  #takeOver(): Promise<WorkerEnding> {
    this.#restarts++;
    this.#servingSinceMs = Infinity;
    // Copies came, went and moved since the mount.
    const request = { ...this.#request, targets: [...this.#worker.targets] };
    let worker: WorkerProcess | undefined;
    try {
      worker = this.#spare.take() ?? this.#newWorker();
      worker.start({ request, legacy: this.#legacy, takeOver: true, volumeUuid: this.#volumeUuid });
    } catch (error) {
      void worker?.kill();
      const line = `no worker can be started: ${messageOf(error)}`;
      return Promise.resolve({ error: line, goesOn: true, killed: false });
    }
    this.#watchDevices(worker);
    this.#worker = worker;
    this.#serving = this.#begun(worker);
    // Its end is seen by `#supervise`; whoever waits asks again then.
    this.#serving.catch(() => undefined);
    return worker.ended;
  }

  /** Has a worker that was started serve; resolves when it does. */
  async #begun(worker: WorkerProcess): Promise<WorkerProcess> {
    await worker.reach("opened");
    worker.serve();
    await worker.reach("serving");
    this.#servingSinceMs = this.#clock.monotonicMs();
    this.#log.line(`worker ${worker.pid} took over`);
    for (const warning of worker.warnings) this.#log.line(`warning: ${warning}`);
    if (this.#canGoOn()) this.#spare.prepare(this.#program);
    return worker;
  }

  /** The worker that serves, once one does. Throws when the mount ends before. */
  async #served(): Promise<WorkerProcess> {
    const over = this.ended.then(() => null);
    for (;;) {
      // The end first: of two that are settled the first counts, and a worker that failed has been for long.
      const worker = await Promise.race([over, this.#serving.catch(() => undefined)]);
      if (worker === null) throw new MountError("the mount ended", MountExit.FAILURE);
      if (worker !== undefined && worker === this.#worker && !worker.isGone) return worker;
      await sleep(10);
    }
  }

  /** What the worker that serves says; one that dies before it has is followed by another, which is asked then. Of what changes nothing. */
  async #answerTo(question: { readonly type: "status" | "sync" }): Promise<Answer> {
    for (;;) {
      const worker = await this.#served();
      const answer = await worker.ask(question);
      if (answer.error === undefined || !worker.isGone) return answer;
    }
  }

  /** Replaces the worker by one of the program given; returns why it is another one, if it is. */
  async #upgrade(program: string): Promise<string | undefined> {
    if (this.#connection === undefined) return "a fuse-native mount can't be taken over; unmount, and mount again";
    if (!this.#canGoOn()) return "this kernel does not send requests again (Linux 6.9 does); unmount, and mount again";
    const { volume } = await this.#answerTo({ type: "status" });
    if (volume?.copies.some(({ state }) => state === "FROZEN"))
      return "a copy is frozen, and nothing can be committed; h2ts resume it first";
    const stuck = volume?.copies.find(({ callsStuck = 0 }) => callsStuck > 0);
    if (stuck !== undefined)
      return `copy ${stuck.index} hangs: its worker can't end before the calls on it do; try again when its device answers`;
    const next = this.#newWorker(program);
    const refusal = await next.refusal(LOAD_MS_MAX);
    if (refusal !== undefined) {
      await next.kill();
      return `${program} does not come up (${refusal}); the version before goes on`;
    }
    const worker = await this.#served();
    const trial: Trial = { from: worker, programBefore: this.#program, spareBefore: this.#spare.exchange(next) };
    this.#trial = trial;
    this.#program = program;
    worker.leave();
    await worker.ended;
    await this.#served();
    if (this.#trial !== trial) return `${program} does not serve (${trial.refusal}); the version before goes on`;
    this.#trial = undefined;
    await trial.spareBefore?.kill();
    return undefined;
  }

  // ---- commands

  async #listen(): Promise<void> {
    const { directory, source } = this.#request;
    const mount = this.#connection?.own ?? OwnMount.on(directory, source);
    if (!mount) throw new MountError(`${directory}: the mount does not show in the mount table`, MountExit.SYSTEM);
    const { standing } = mount;
    if (standing === "gone") throw new MountError(`${directory}: was unmounted again before it could be used`);
    if (standing === "covered")
      throw new MountError(`${directory}: something else was mounted on it before it could be used; umount that first`);
    this.#mount = mount;
    const path = join(makeRuntimeFolder(), `${mount.deviceKey}.sock`);
    this.#control = await ControlServer.listen(path, (request) => this.#answer(request));
  }

  async #answer(request: ControlRequest): Promise<ControlReply> {
    switch (request.call) {
      case "ping":
        return { daemon: this.#report() };
      case "sync": {
        const { error } = await this.#answerTo({ type: "sync" });
        return error === undefined ? {} : { error };
      }
      case "status":
        return this.#full(await this.#answerTo({ type: "status" }));
      case "verb": {
        const { verb, args } = request;
        const answer = await (await this.#served()).ask({ type: "verb", verb, args });
        await this.#released;
        return this.#full(answer);
      }
      case "upgrade": {
        // One after the other.
        const turn = this.#upgrades.then(() => this.#upgrade(request.worker));
        this.#upgrades = turn.catch(() => undefined);
        const error = await turn;
        return { daemon: this.#report(), ...(error !== undefined && { error }) };
      }
      case "waitForExit": {
        const { error } = await this.ended;
        return error === undefined ? {} : { error };
      }
    }
  }

  #full(reply: ControlReply): ControlReply {
    return { ...reply, daemon: this.#report(), notes: [...this.#log.recent()] };
  }

  #report(): DaemonReport {
    const { directory, source, options } = this.#request;
    return {
      supervisorPid: process.pid,
      workerPid: this.#worker.pid,
      ...(this.#spare.pid !== undefined && { sparePid: this.#spare.pid }),
      restarts: this.#restarts,
      handsOverAll: true,
      transport: options.transport,
      directory,
      source,
      targets: [...this.#worker.targets],
    };
  }

  // ---- the end

  async #finish(ending: WorkerEnding): Promise<WorkerEnding> {
    await Promise.all([this.#spare.close(), this.#trial?.spareBefore?.kill()]);
    // A thread of ours that brings a notice holds the device, too, until the kernel is answered or given up.
    const isBroken = ending.error !== undefined && ending.unmounted !== true;
    if (isBroken && this.#mount !== undefined) this.#connection?.abort(this.#mount.deviceMinor);
    // Once nobody holds the device, requests still waiting get an error instead of hanging.
    const free = this.#connection?.close();
    const { directory } = this.#request;
    if (ending.error === undefined) this.#log.line(`unmounted ${directory}`);
    else this.#log.line(`${directory}: ${ending.error}; the mount is taken down`);
    if (isBroken) this.#noteRefusal(await this.#mount?.abort());
    await free;
    return ending;
  }

  #noteRefusal(refusal: string | undefined): void {
    if (refusal !== undefined) this.#log.line(refusal);
  }

  /** Ends the mount on a signal: at once when nobody uses it, else as soon as its last user lets go. */
  stop(): void {
    this.#log.line("asked to stop: unmounting");
    void this.#mount?.detach().then((refusal) => this.#noteRefusal(refusal));
  }

  /** Sends the answers still owed and removes the control socket. */
  async close(): Promise<void> {
    await this.#control?.close();
  }
}
