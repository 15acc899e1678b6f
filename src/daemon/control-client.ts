// A command's end of the control socket.

import { existsSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { controlPaths } from "./control-path.ts";
import { ControlReply, type ControlRequest, type VerbCall } from "./messages.ts";

export class ControlClient {
  readonly #socket: Socket;
  readonly #waiting: ((reply: ControlReply | undefined) => void)[] = [];
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const lines = createInterface({ input: socket });
    lines.on("line", (line) => this.#waiting.shift()?.(parseReply(line)));
    // It passes on the errors of the socket: a daemon that ends before it has read a request resets the connection.
    lines.on("error", () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#closed = true;
      for (const waiting of this.#waiting.splice(0)) waiting(undefined);
    });
  }

  /** Connects to the daemon, `owner`'s or else this user's, of the mount with this device number; undefined when none listens. */
  static async connect(deviceKey: string, owner?: number): Promise<ControlClient | undefined> {
    for (const path of controlPaths(deviceKey, owner)) {
      if (!existsSync(path)) continue;
      const socket = await new Promise<Socket | undefined>((resolve) => {
        const candidate = createConnection(path);
        candidate.once("connect", () => resolve(candidate));
        candidate.once("error", () => resolve(undefined));
      });
      if (socket) return new ControlClient(socket);
    }
    return undefined;
  }

  /** Sends one request; one at a time. Undefined when the daemon hung up, or took longer than `timeoutMs`, without one. */
  call(
    call: Exclude<ControlRequest["call"], "verb" | "upgrade">,
    timeoutMs?: number,
  ): Promise<ControlReply | undefined> {
    return this.#exchange({ call }, timeoutMs);
  }

  /** Has a verb carried out; it takes as long as it takes. */
  verb(verb: VerbCall): Promise<ControlReply | undefined> {
    return this.#exchange({ call: "verb", ...verb });
  }

  /** Has a worker of this program take over. */
  upgrade(worker: string): Promise<ControlReply | undefined> {
    return this.#exchange({ call: "upgrade", worker });
  }

  #exchange(request: ControlRequest, timeoutMs?: number): Promise<ControlReply | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const timer = timeoutMs === undefined ? undefined : setTimeout(() => this.#socket.destroy(), timeoutMs);
      this.#waiting.push((reply) => {
        clearTimeout(timer);
        resolve(reply);
      });
      this.#socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

function parseReply(line: string): ControlReply {
  try {
    return ControlReply.parse(JSON.parse(line));
  } catch {
    return { error: "the daemon's answer makes no sense; is it of another version?" };
  }
}
