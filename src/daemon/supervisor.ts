// The supervisor of one mount. It holds the descriptor of /dev/fuse and the control socket, starts the worker that does
// all the work, and reaps it. It does so little itself that it does not die. A worker that dies takes the mount down
// with a clear line today; restarting it behind the same descriptor (I4, DESIGN "Restartable") has its place in `#finish`.

import { join } from "node:path";
import { unmount } from "../fuse/kernel/mount.ts";
import { ControlServer } from "./control-server.ts";
import { makeControlFolder } from "./control-path.ts";
import type { DaemonLog } from "./daemon-log.ts";
import { KernelConnection } from "./kernel-connection.ts";
import { MountExit, type ControlReply, type ControlRequest, type DaemonReport, type MountRequest } from "./messages.ts";
import { mountedVolumeAt } from "./mount-table.ts";
import { MountError } from "./start-mount.ts";
import { WorkerProcess, type WorkerEnding } from "./worker-process.ts";

export class Supervisor {
  /** Resolves when the mount is gone and the worker reaped. */
  readonly ended: Promise<WorkerEnding>;
  readonly #request: MountRequest;
  readonly #log: DaemonLog;
  readonly #connection: KernelConnection | undefined;
  readonly #worker: WorkerProcess;
  #control: ControlServer | undefined;

  private constructor(
    request: MountRequest,
    log: DaemonLog,
    connection: KernelConnection | undefined,
    worker: WorkerProcess,
  ) {
    this.#request = request;
    this.#log = log;
    this.#connection = connection;
    this.#worker = worker;
    this.ended = worker.ended.then((ending) => this.#finish(ending));
  }

  /** Mounts; resolves once programs can use the mount. Throws {@link MountError}, with nothing left behind. */
  static async start(request: MountRequest, log: DaemonLog): Promise<Supervisor> {
    // fuse-native mounts by itself, inside the worker.
    const connection = request.options.transport === "kernel" ? KernelConnection.open(request) : undefined;
    const worker = new WorkerProcess(request, connection?.fd, log);
    let supervisor: Supervisor | undefined;
    try {
      await worker.reach("opened");
      connection?.mount();
      worker.serve();
      await worker.reach("serving");
      supervisor = new Supervisor(request, log, connection, worker);
      await supervisor.#listen();
    } catch (error) {
      worker.kill();
      await worker.ended;
      await connection?.abandon();
      throw error instanceof MountError
        ? error
        : new MountError(`${request.directory}: ${String(error)}`, MountExit.SYSTEM);
    }
    log.line(`mounted ${request.source} on ${request.directory}`);
    for (const warning of worker.warnings) log.line(`warning: ${warning}`);
    return supervisor;
  }

  /** What the operator should know although the mount succeeded, a line each. */
  get warnings(): readonly string[] {
    return this.#worker.warnings;
  }

  async #listen(): Promise<void> {
    const mount = mountedVolumeAt(this.#request.directory);
    if (!mount)
      throw new MountError(`${this.#request.directory}: the mount does not show in the mount table`, MountExit.SYSTEM);
    const path = join(makeControlFolder(), `${mount.deviceKey}.sock`);
    this.#control = await ControlServer.listen(path, (request) => this.#answer(request));
  }

  async #answer(request: ControlRequest): Promise<ControlReply> {
    const daemon = this.#report();
    switch (request.call) {
      case "ping":
        return { daemon };
      case "sync": {
        const { error } = await this.#worker.ask({ type: "sync" });
        return error === undefined ? {} : { error };
      }
      case "status":
        return { ...(await this.#worker.ask({ type: "status" })), daemon, notes: [...this.#log.recent()] };
      case "verb": {
        const { verb, args } = request;
        return { ...(await this.#worker.ask({ type: "verb", verb, args })), daemon, notes: [...this.#log.recent()] };
      }
      case "waitForExit": {
        const { error } = await this.ended;
        return error === undefined ? {} : { error };
      }
    }
  }

  #report(): DaemonReport {
    const { directory, source, targets, options } = this.#request;
    return {
      supervisorPid: process.pid,
      workerPid: this.#worker.pid,
      transport: options.transport,
      directory,
      source,
      targets,
    };
  }

  async #finish(ending: WorkerEnding): Promise<WorkerEnding> {
    // Once nobody holds the device, requests still waiting get an error instead of hanging.
    this.#connection?.close();
    const { directory } = this.#request;
    if (ending.error === undefined) this.#log.line(`unmounted ${directory}`);
    else {
      this.#log.line(`${directory}: ${ending.error}; the mount is taken down`);
      if (mountedVolumeAt(directory)) await this.#detach();
    }
    return ending;
  }

  async #detach(): Promise<void> {
    const { directory } = this.#request;
    await unmount(directory, true).catch((error: unknown) => {
      this.#log.line(`${directory} can't be unmounted: ${error instanceof Error ? error.message : String(error)}`);
    });
  }

  /** Ends the mount on a signal: at once when nobody uses it, else as soon as its last user lets go. */
  stop(): void {
    this.#log.line("asked to stop: unmounting");
    if (this.#connection) void this.#detach();
    else this.#worker.stop();
  }

  /** Sends the answers still owed and removes the control socket. */
  async close(): Promise<void> {
    await this.#control?.close();
  }
}
