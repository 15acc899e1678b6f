// The worker of one mount: opens the volume, serves requests until the mount is gone, commits, and says how it went.
// What it completed is on media or in memory that outlives it, so that another worker may take its place at any time.

import { AssertionError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { asError, messageOf, traceOf } from "../base/thrown.ts";
import { formatUuid, type Uuid } from "../base/uuid.ts";
import type { Negotiated } from "../fuse/kernel/negotiation.ts";
import { Notices, type Send } from "../fuse/kernel/notices.ts";
import { type DeviceService, serveDevice } from "../fuse/kernel/transport.ts";
import { FileSystem } from "../posix/filesystem.ts";
import type { Volume } from "../volume/volume.ts";
import { answersFor } from "../nbd/open.ts";
import { Caretaker } from "../walk/caretaker.ts";
import { thawAll } from "../walk/freeze.ts";
import { Comeback } from "../walk/comeback.ts";
import { describeVolume } from "./describe-volume.ts";
import type { MountRequest, VerbCall } from "./messages.ts";
import type { MetricsServer } from "./metrics.ts";
import { parseMetricsAddress } from "./metrics-address.ts";
import { allWords } from "./mount-options.ts";
import { kernelWarnings, mountWarnings } from "./mount-warnings.ts";
import { KernelClock } from "./kernel-clock.ts";
import { JOURNAL_BYTES } from "../log/journal.ts";
import { openForMount } from "./open-volume.ts";
import { mountedVolumeAt, mountedVolumes } from "./mount-table.ts";
import { SharedMemory } from "./shared-memory.ts";
import { limitMemory } from "./system-calls.ts";
import { TargetList } from "./target-list.ts";
import { carryOut } from "./verbs.ts";
import { WarmUp } from "./warm-up/warm-up.ts";
import type { VolumeReport } from "./volume-report.ts";
import type { Answer } from "./worker-process.ts";

/** What the supervisor hands to a worker. */
export interface HandedOver {
  /** An open /dev/fuse. */
  readonly fuseFd?: number | undefined;
  /** Memory that outlives the worker. */
  readonly memoryFd?: number | undefined;
  /** A worker before this one died or left: its mount goes on. */
  readonly takeOver: boolean;
  /** The volume that it had. */
  readonly volumeUuid?: Uuid | undefined;
  /** Brings notices to the kernel behind the /dev/fuse. */
  readonly sendNotice?: Send | undefined;
  /** That of all workers of the mount (I11). */
  readonly heartbeatNonce?: Uint8Array | undefined;
}

/**
 * Address space for data besides the cache: mostly stacks of threads, of which little is ever touched. Far above what a
 * worker needs; should it ever lose track of its memory, that must end the worker, not the machine.
 */
const MEMORY_BASE_BYTES = 4 * 1024 ** 3;
const FAULTS_LOGGED_MAX = 100;
/** What a mount takes besides its cache is 150 MB; so much of that is the worker's, the rest for supervisor and spare. */
const MEMORY_BESIDE_CACHE_BYTES = 90 * 1024 * 1024;
/** The kernel does not say that a volume is being unmounted, and waits then for what a frozen copy holds up. */
const UNMOUNT_POLL_MS = 500;

/** A live mount. */
interface Served {
  /** Resolves when it is gone; rejects when it is there and can't be served any more. */
  readonly closed: Promise<void>;
  /** What the kernel lacks. */
  readonly warnings: string[];
}

export class Worker {
  readonly #request: MountRequest;
  readonly #fuseFd: number | undefined;
  readonly #memory: SharedMemory | undefined;
  /** What the volume was opened without, a line each. */
  readonly #lost: readonly string[];
  readonly #volume: Volume;
  readonly #caretaker: Caretaker;
  readonly #comeback: Comeback;
  readonly #targets: TargetList;
  #targetsTold: readonly string[];
  /** Told where the copies are, whenever that changed: what another worker has to open. */
  onTargets: (targets: string[]) => void = () => undefined;
  /** Told once that every request is answered which the worker before left unanswered. */
  onSettled: () => void = () => undefined;
  readonly #notices: Notices | undefined;
  #device: DeviceService | undefined;
  #leaving = false;
  #metrics: MetricsServer | undefined;
  #warmUp: WarmUp | undefined;
  #faults = 0;
  #thawing: Timer | undefined;
  /** Device number of the mount; undefined when it was unmounted before this worker took it over. */
  #deviceKey: string | undefined;

  private constructor(
    request: MountRequest,
    fuseFd: number | undefined,
    sendNotice: Send | undefined,
    memory: SharedMemory | undefined,
    volume: Volume,
    lost: readonly string[],
  ) {
    this.#lost = lost;
    this.#request = request;
    this.#memory = memory;
    this.#fuseFd = fuseFd;
    this.#notices = sendNotice && new Notices(sendNotice);
    this.#volume = volume;
    this.#caretaker = new Caretaker(volume, {
      clock: volume.copies.clock,
      bytesPerSecond: request.options.resyncBytesPerSecond,
      onNote: (line) => {
        console.error(line);
        this.#tellTargets();
      },
    });
    this.#comeback = new Comeback(volume, this.#caretaker, {
      clock: volume.copies.clock,
      answers: (node) => answersFor(node, volume.copies.clock),
      onNote: (line) => console.error(line),
    });
    this.#targets = new TargetList(volume, request.targets);
    this.#targetsTold = request.targets;
  }

  /** Opens the volume; throws with one line that names what is wrong. */
  static async open(request: MountRequest, handed: HandedOver): Promise<Worker> {
    limitMemory(MEMORY_BASE_BYTES + 2 * request.options.cacheBytes);
    const { fuseFd, sendNotice, memoryFd, takeOver, volumeUuid, heartbeatNonce } = handed;
    const memory = memoryFd === undefined ? undefined : new SharedMemory(memoryFd, JOURNAL_BYTES);
    const lost = new Set<string>();
    const volume = await openForMount(request, {
      journal: memory?.journal ?? new Uint8Array(JOURNAL_BYTES),
      takeOver,
      volumeUuid,
      ...(heartbeatNonce !== undefined && { heartbeatNonce }),
      onLogDropped: (line) => void lost.add(line),
    });
    return new Worker(request, fuseFd, sendNotice, memory, volume, [...lost]);
  }

  get volumeUuid(): string {
    return formatUuid(this.#volume.uuid);
  }

  /** What the operator should know of a mount that succeeded. */
  warnings(): string[] {
    return [...this.#lost, ...mountWarnings(this.status(), this.#volume.copies.absent)];
  }

  /**
   * Starts to serve. `ended` resolves when the mount is gone, with an error when the last commit failed; `warnings` tell what
   * the kernel lacks.
   */
  async serve(): Promise<{ ended: Promise<string | undefined>; warnings: string[] }> {
    const clock = new KernelClock();
    const fs = new FileSystem(this.#volume, clock);
    const notices = this.#notices;
    if (this.#memory?.negotiated !== undefined && notices !== undefined) {
      await fs.takeOver(
        (ino) => notices.isHeld(ino),
        (line) => console.error(line),
      );
    }
    this.#tellTargets();
    if (this.#volume.readOnly === undefined) {
      this.#caretaker.start();
      this.#comeback.start();
    }
    await this.#serveMetrics();
    const served =
      this.#fuseFd === undefined ? await this.#serveNative(fs) : await this.#serveKernel(this.#fuseFd, fs, clock);
    const { closed, warnings } = served;
    const { directory, source } = this.#request;
    this.#deviceKey = mountedVolumeAt(directory, source)?.deviceKey;
    // A worker that leaves says so itself; the mount goes on.
    const forever = new Promise<never>(() => undefined);
    return { ended: closed.then(() => (this.#leaving ? forever : this.#finish(fs))), warnings };
  }

  /** The mount that the supervisor made and keeps, on which a worker before this one may have agreed with the kernel. */
  async #serveKernel(fuseFd: number, fs: FileSystem, clock: Clock): Promise<Served> {
    const negotiated = this.#memory?.negotiated;
    const agreement = new Agreement(negotiated, this.#memory);
    const service = serveDevice(fuseFd, fs, {
      onFault: (error) => this.requestFault(error),
      ...(this.#notices !== undefined && { notices: this.#notices }),
      negotiated,
      onNegotiated: agreement.reached,
      onSettled: () => this.onSettled(),
    });
    this.#device = service;
    const agreed = await Promise.race([agreement.made, service.closed]);
    const isNew = agreed !== undefined && negotiated === undefined;
    if (this.#request.options.warmUp && this.#volume.readOnly === undefined) this.#startWarmUp(service, clock);
    return { closed: service.closed, warnings: isNew ? kernelWarnings(agreed) : [] };
  }

  /** A mount of this worker's own, which ends with it. */
  async #serveNative(fs: FileSystem): Promise<Served> {
    // Loaded only when asked for: it needs libfuse 2 on the machine.
    const { nativeTransport } = await import("../fuse/native/transport.ts");
    const { directory, source, options } = this.#request;
    const { allowOther } = options;
    const words = allWords(options);
    const mount = { source, directory, options: words, ...(allowOther === undefined ? {} : { allowOther }) };
    const { closed } = await nativeTransport.mount(mount, fs, { onFault: (error) => this.requestFault(error) });
    return { closed, warnings: [] };
  }

  #startWarmUp({ usedAtMs }: DeviceService, clock: Clock): void {
    this.#warmUp = new WarmUp({
      clock,
      copyCount: this.#volume.copies.copies.length,
      usedAtMs,
      memoryBytesMax: this.#request.options.cacheBytes + MEMORY_BESIDE_CACHE_BYTES,
      onNote: (line) => console.error(line),
    });
  }

  /** Who can't be told figures does without: that is no reason not to mount. */
  async #serveMetrics(): Promise<void> {
    const { metrics } = this.#request.options;
    const address = metrics === undefined ? undefined : parseMetricsAddress(metrics);
    if (address === undefined) return;
    try {
      // Loaded only when asked for.
      const { serveMetrics } = await import("./metrics.ts");
      this.#metrics = await serveMetrics(address, () => this.status());
    } catch (error) {
      console.error(`warning: metrics=${metrics}: ${messageOf(error)}`);
    }
  }

  /** Ends so that another worker can go on: takes no more requests, answers those it has, commits. */
  async leave(): Promise<void> {
    this.#leaving = true;
    this.#warmUp?.close();
    await this.#metrics?.close();
    // Requests are served until then: the kernel may wait for one before it takes a notice.
    await this.#notices?.close();
    await this.#device?.stop();
    await this.#device?.session.quiet();
    await this.#stopWalks();
    if (this.#volume.readOnly === undefined) await this.#volume.forceCommit();
  }

  /** At once: what brings a copy back may wait for a walk to stop. */
  async #stopWalks(): Promise<void> {
    await Promise.all([this.#caretaker.close(), this.#comeback.close()]);
  }

  async #finish(fs: FileSystem): Promise<string | undefined> {
    this.#warmUp?.close();
    try {
      await thawAll(this.#volume);
      await this.#metrics?.close();
      await fs.close();
      await this.#stopWalks();
      await this.#volume.noteErrors();
      await this.#volume.close();
      await this.#volume.copies.close();
      return undefined;
    } catch (error) {
      return `not everything could be made durable: ${messageOf(error)}`;
    }
  }

  status(): VolumeReport {
    return describeVolume(this.#volume, this.#caretaker);
  }

  /** Carries out one verb; its answer is the state afterwards, or why it was refused. */
  async carryOut(call: VerbCall): Promise<Answer> {
    const refusal = await carryOut(call, { volume: this.#volume, caretaker: this.#caretaker });
    this.#tellTargets();
    this.#thawAtUnmount();
    return { ...refusal, volume: this.status() };
  }

  /** While something is frozen: an unmount, by whatever means, ends that. */
  #thawAtUnmount(): void {
    if (this.#thawing !== undefined || this.#volume.copies.frozen.length === 0) return;
    this.#thawing = this.#volume.copies.clock.after(UNMOUNT_POLL_MS, () => {
      this.#thawing = undefined;
      // By number: something else may be mounted on the folder by now.
      if (mountedVolumes().some(({ deviceKey }) => deviceKey === this.#deviceKey)) return this.#thawAtUnmount();
      console.error("unmounted while a copy is frozen: it is resumed");
      void thawAll(this.#volume);
    });
  }

  /** A copy that leaves is off the list before it is gone from the volume, one that comes is on it once it is a member. */
  #tellTargets(): void {
    this.#comeback.membersChanged();
    const targets = this.#targets.current();
    if (targets.length === 0 || targets.join("\0") === this.#targetsTold.join("\0")) return;
    this.#targetsTold = targets;
    this.onTargets(targets);
  }

  /** Everything completed before is durable on all copies. */
  sync(): Promise<void> {
    return this.#volume.barrier();
  }

  /** A request failed with something that is no errno: one that shows a bug of ours stops all writing. */
  requestFault(error: unknown): void {
    if (isBug(error)) this.fault(error);
    else this.#log(error);
  }

  /** Something went wrong that nobody expected: the state in memory may be wrong, so nothing more is written. */
  fault(error: unknown): void {
    this.#log(error);
    this.#volume.failWith(asError(error));
  }

  #log(error: unknown): void {
    if (++this.#faults > FAULTS_LOGGED_MAX) return;
    console.error(`fault: ${traceOf(error)}`);
  }
}

/** What is agreed on with the kernel, now or by a worker before this one; noted where workers after it find it. */
class Agreement {
  readonly made: Promise<Negotiated>;
  readonly reached: (agreed: Negotiated) => void;

  constructor(negotiated: Negotiated | undefined, memory: SharedMemory | undefined) {
    let resolve: (agreed: Negotiated) => void = () => undefined;
    this.made = negotiated === undefined ? new Promise((made) => (resolve = made)) : Promise.resolve(negotiated);
    this.reached = (agreed) => {
      if (memory !== undefined) memory.negotiated = agreed;
      resolve(agreed);
    };
  }
}

function isBug(error: unknown): boolean {
  return [AssertionError, TypeError, RangeError, ReferenceError].some((kind) => error instanceof kind);
}
