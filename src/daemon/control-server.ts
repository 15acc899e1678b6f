// The supervisor's end of the control socket: JSON lines in, JSON lines out. Whatever comes in is checked; a line that
// is no request gets an error, a connection that never ends its line is closed. Nothing here can stop the mount.

import { chmodSync, lstatSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../base/thrown.ts";
import { ControlRequest, type ControlReply } from "./messages.ts";

const LINE_MAX_CHARS = 65536;

export type ControlAnswer = (request: ControlRequest) => Promise<ControlReply>;

export class ControlServer {
  readonly path: string;
  readonly #server: Server;
  /** Inode of the socket's name: the number of a mount is given out again as soon as it is unmounted. */
  #ino = 0;
  readonly #sockets = new Set<Socket>();
  readonly #answers = new Set<Promise<void>>();

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
  }

  /** Listens on `path`, taking the place of whatever a daemon dead or just ending has there. */
  static async listen(path: string, answer: ControlAnswer): Promise<ControlServer> {
    const ownPath = `${path}.${process.pid}`;
    rmSync(ownPath, { force: true });
    const server = createServer();
    const control = new ControlServer(path, server);
    server.on("connection", (socket) => control.#serve(socket, answer));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(ownPath, () => {
        server.off("error", reject);
        resolve();
      });
    });
    server.on("error", () => {});
    chmodSync(ownPath, 0o600);
    renameSync(ownPath, path);
    control.#ino = lstatSync(path).ino;
    return control;
  }

  #serve(socket: Socket, answer: ControlAnswer): void {
    this.#sockets.add(socket);
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    let pending = "";
    socket.on("data", (chunk: string) => {
      pending += chunk;
      for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n")) {
        const line = pending.slice(0, end);
        pending = pending.slice(end + 1);
        const answered = replyTo(line, answer).then((reply) => {
          if (!socket.destroyed) socket.write(`${JSON.stringify(reply)}\n`);
          this.#answers.delete(answered);
        });
        this.#answers.add(answered);
      }
      if (pending.length > LINE_MAX_CHARS) socket.destroy();
    });
  }

  /** The name may be another daemon's by now, whose mount got the number of ours: then it stays. */
  #removeName(): void {
    if (lstatSync(this.path, { throwIfNoEntry: false })?.ino === this.#ino) rmSync(this.path, { force: true });
  }

  /** Removes the socket and resolves when every answer under way has been sent. */
  async close(): Promise<void> {
    this.#removeName();
    // Requests sent before the end may not have been read yet: one turn of the event loop takes them in.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(this.#answers);
    const ended = [...this.#sockets].map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.once("close", () => resolve());
          socket.end();
          // A client that does not hang up must not hold the daemon.
          setTimeout(() => socket.destroy(), 1000).unref();
        }),
    );
    await Promise.all([...ended, new Promise<void>((resolve) => this.#server.close(() => resolve()))]);
  }
}

async function replyTo(line: string, answer: ControlAnswer): Promise<ControlReply> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { error: "not a JSON line" };
  }
  const request = ControlRequest.safeParse(value);
  if (!request.success) return { error: "unknown request" };
  try {
    return await answer(request.data);
  } catch (error) {
    return { error: messageOf(error) };
  }
}
