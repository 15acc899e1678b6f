// A folder for tests of `h2ts export` with the programs of others: starts servers and ends them, runs tools to their end.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const H2TS = resolve(import.meta.dirname, "../../dist/src/cli.js");

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export class RunningExport {
  readonly child: ChildProcess;
  log = "";

  constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.on("data", (chunk) => (this.log += chunk));
  }

  /** Waits for a line of its log. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.log);
      if (found !== null) return found;
      if (this.child.exitCode !== null) throw new Error(`ended without saying ${pattern}: ${this.log}`);
      await new Promise((settle) => setTimeout(settle, 10));
    }
  }

  /** Sends a signal; gives the exit code. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const ended = new Promise<number | null>((settle) => this.child.once("close", settle));
    this.child.kill(signal);
    return ended;
  }
}

export class ExportPlace {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-nbd-")));
  readonly #servers: RunningExport[] = [];

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Starts a server and waits until it listens. */
  async serve(...words: string[]): Promise<RunningExport> {
    const child = spawn(process.execPath, [H2TS, "export", ...words], {
      cwd: this.folder,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const server = new RunningExport(child);
    this.#servers.push(server);
    await server.said(/ serving /);
    return server;
  }

  /** The address of an export on the socket `s` in this folder. */
  uri(exportName = "x", query = "", scheme = "nbd", user = ""): string {
    return `${scheme}+unix://${user}/${exportName}?socket=${this.path("s")}${query}`;
  }

  /** Runs a program to its end, in this folder; `h2ts` is the built one. */
  run(program: string, ...words: string[]): Promise<Outcome> {
    const [command, all] = program === "h2ts" ? [process.execPath, [H2TS, ...words]] : [program, words];
    return new Promise((settle, reject) => {
      const child = spawn(command, all, { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
      let out = "";
      let err = "";
      child.stdout.on("data", (chunk) => (out += chunk));
      child.stderr.on("data", (chunk) => (err += chunk));
      child.on("error", reject);
      child.on("close", (code) => settle({ code, out, err }));
    });
  }

  /** Runs a program that must succeed; gives what it printed. */
  async ok(program: string, ...words: string[]): Promise<string> {
    const { code, out, err } = await this.run(program, ...words);
    if (code !== 0) throw new Error(`${program} ${words.join(" ")}: exit ${code}: ${err}${out}`);
    return out;
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.end("SIGKILL")));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Which of the programs are missing here; undefined when none is. */
export function missingPrograms(...names: string[]): string | undefined {
  const missing = names.filter((name) => spawnSync(name, ["--version"]).error !== undefined);
  return missing.length === 0 ? undefined : `missing: ${missing.join(", ")}`;
}
