// Hosts of a network that a test has for itself: network namespaces with cables between them that can be cut and mended. On a
// host runs a shell that starts and kills servers there. It has been there since before anything was mounted: a process forked by
// the test would close its copies of the test's open files, and those on a mount that waits for that very server can't be closed.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { createInterface, type Interface } from "node:readline";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const CLI = resolve(import.meta.dirname, "../../dist/src/cli.js");
const START_MS_MAX = 30_000;

const ip = (...words: string[]): boolean => spawnSync("ip", words).status === 0;

export class TestHost {
  readonly #namespace: string;
  readonly #shell: ChildProcess;
  readonly #replies: Interface;
  #ends = 0;

  constructor(name: string) {
    this.#namespace = `h2ts-${process.pid}-${name}`;
    if (!ip("netns", "add", this.#namespace)) throw new Error(`no network namespace can be made`);
    ip("-n", this.#namespace, "link", "set", "lo", "up");
    const [command = "", ...words] = this.within;
    const loop = 'while read -r line; do eval "$line"; done';
    this.#shell = spawn(command, [...words, "bash", "-c", loop], { stdio: ["pipe", "pipe", "inherit"] });
    this.#replies = createInterface({ input: this.#shell.stdout as NodeJS.ReadableStream });
  }

  /** Whether this machine lets us make such hosts. */
  static get possible(): boolean {
    const name = `h2ts-${process.pid}-try`;
    return ip("netns", "add", name) && ip("netns", "del", name);
  }

  /** The words behind which a program runs on this host, with the files of all. */
  get within(): string[] {
    return ["nsenter", `--net=/run/netns/${this.#namespace}`];
  }

  /** Has the shell do something that prints one line; gives that. */
  ask(line: string): Promise<string> {
    const answered = new Promise<string>((settle) => this.#replies.once("line", settle));
    this.#shell.stdin?.write(`${line}\n`);
    return answered;
  }

  /** `h2ts export` with these words; resolves when it serves. Its log goes to `log`. */
  async serve(words: readonly string[], log: string): Promise<TestServer> {
    const quoted = [process.execPath, CLI, "export", ...words].map((word) => `'${word}'`).join(" ");
    // The shell goes on before the log is there.
    const logged = (): string => (existsSync(log) ? readFileSync(log, "latin1") : "");
    const before = logged().length;
    const pid = Number(await this.ask(`${quoted} </dev/null >/dev/null 2>>'${log}' & echo $!`));
    for (let waitedMs = 0; waitedMs < START_MS_MAX; waitedMs += 50) {
      const said = logged().slice(before);
      if (said.includes(" serving "))
        return { kill: async () => void (await this.ask(`{ kill -9 ${pid}; wait ${pid}; } 2>/dev/null; echo`)) };
      await sleep(50);
    }
    throw new Error(`h2ts export does not start: ${logged().slice(before)}`);
  }

  /** A cable to `other`: this end is NET.1, the other one NET.2. */
  connect(other: TestHost, net: string): Cable {
    const [here, there] = [`a${this.#ends++}`, `b${other.#ends++}`];
    const made =
      ip(
        ...["-n", this.#namespace, "link", "add", here, "type", "veth"],
        ...["peer", "name", there, "netns", other.#namespace],
      ) &&
      ip("-n", this.#namespace, "addr", "add", `${net}.1/24`, "dev", here) &&
      ip("-n", other.#namespace, "addr", "add", `${net}.2/24`, "dev", there);
    const set = (state: "up" | "down"): boolean => ip("-n", other.#namespace, "link", "set", there, state);
    if (!made || !ip("-n", this.#namespace, "link", "set", here, "up") || !set("up"))
      throw new Error(`no cable ${net}`);
    return { address: `${net}.2`, cut: () => void set("down"), mend: () => void set("up") };
  }

  /** Ends everything that runs there. */
  remove(): void {
    this.#shell.stdin?.end("kill -9 $(jobs -p) 2>/dev/null; exit\n");
    ip("netns", "del", this.#namespace);
  }
}

export interface TestServer {
  /** Ends it at once, as a crash does. */
  kill(): Promise<void>;
}

export interface Cable {
  /** Of the other end. */
  readonly address: string;
  /** At the other end: nobody here is told. */
  cut(): void;
  mend(): void;
}
