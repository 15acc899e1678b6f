// Starts programs and ends them, each by the id of the process started here.

import { type ChildProcess, spawn } from "node:child_process";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

const COMMAND_LIMIT_MS = 15 * 60_000;
const STOP_LIMIT_MS = 10_000;

export interface Outcome {
  readonly stdout: string;
  readonly seconds: number;
}

/** Runs a program to its end. Rejects with its last words when it fails. `input` is what it reads. */
export function run(command: string, words: readonly string[], input = "", directory = "/"): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    // A process group of its own: an interrupt at the terminal is for the bench, which then ends things in order.
    const child = spawn(command, words, { cwd: directory, detached: true, timeout: COMMAND_LIMIT_MS, killSignal: 9 });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-4096)));
    child.stdin.on("error", () => undefined).end(input);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve({ stdout, seconds: (performance.now() - began) / 1000 });
      const detail = stderr.trim() === "" ? (signal ?? `exit code ${code}`) : stderr.trim();
      reject(new Error(`${command} ${words.join(" ")}: ${detail}`));
    });
  });
}

/** A server that runs until it is stopped. */
export class Server {
  readonly #child: ChildProcess;
  readonly #name: string;
  #lastWords = "";

  constructor(command: string, words: readonly string[]) {
    this.#name = command;
    this.#child = spawn(command, words, { cwd: "/", detached: true, stdio: ["ignore", "ignore", "pipe"] });
    this.#child.on("error", (error) => (this.#lastWords = error.message));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.#lastWords = text.slice(-2048)));
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.#name} can't be started`);
    return this.#child.pid;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined;
  }

  /** Waits until `ready` says so. */
  async until(ready: () => boolean, limitMs = 10_000): Promise<void> {
    for (let waitedMs = 0; !ready(); waitedMs += 10) {
      if (this.ended) throw new Error(`${this.#name} ended at once: ${this.#lastWords.trim()}`);
      if (waitedMs > limitMs) throw new Error(`${this.#name} is not ready after ${limitMs / 1000} s`);
      await sleep(10);
    }
  }

  /** Resolves once it is gone; killed when it does not go by itself or on SIGTERM. */
  async stop(signal: NodeJS.Signals | "none" = "SIGTERM"): Promise<void> {
    if (signal !== "none" && !this.ended) this.#child.kill(signal);
    for (let waitedMs = 0; !this.ended; waitedMs += 10) {
      if (waitedMs === STOP_LIMIT_MS) this.#child.kill("SIGKILL");
      await sleep(10);
    }
  }
}
