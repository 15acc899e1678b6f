// h2ts export as a process: what it refuses to start with, how it ends, and what a kill leaves behind.

import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDevice } from "../../src/nbd/open.ts";
import { Command, Option, OptionReply } from "../../src/nbd/wire/constants.ts";
import { decodeMetaContext } from "../../src/nbd/wire/option-reply.ts";
import { ScriptedClient } from "../unit/nbd/server-scene.ts";
import { ExportPlace, type RunningExport } from "./export-place.ts";

const MIB = 1024 * 1024;

describe("h2ts export", () => {
  let place: ExportPlace;
  beforeEach(() => {
    place = new ExportPlace();
    for (const name of ["x", "y"]) {
      writeFileSync(place.path(name), "");
      truncateSync(place.path(name), 64 * MIB);
    }
  });
  afterEach(() => place.dispose());

  const listen = (): string[] => ["--listen", `unix:${place.path("s")}`];
  const opened = async (socket = connect(place.path("s"))): Promise<ScriptedClient> => {
    const client = new ScriptedClient(socket);
    await client.greet();
    await client.option(8);
    await client.go();
    return client;
  };

  it("ends on SIGTERM when what is under way is answered, and says 0", async () => {
    const server = await place.serve(...listen(), "x");
    const client = await opened();
    const block = Buffer.alloc(MIB, 7);
    for (let i = 0; i < 60; i++) client.send(Command.WRITE, i * MIB, MIB, 0, block);
    await client.answer();
    let answered = 1;
    const ended = server.end();
    for (;;) {
      const answer = await client.answer().catch(() => undefined);
      if (answer === undefined) break;
      expect(answer.error).toBe(0);
      answered++;
    }
    client.stream.end();
    expect(await ended).toBe(0);
    // Requests may be carried out in any order, so only their number is known.
    const image = readFileSync(place.path("x"));
    const written = Array.from({ length: 60 }, (_, i) => image.subarray(i * MIB, (i + 1) * MIB).equals(block));
    expect(written.filter((isThere) => isThere).length).toBe(answered);
    expect(server.log).toMatch(/SIGTERM: finishing[^]*ended\n$/);
    expect(readdirSync(place.folder)).not.toContain("s");
  });

  it("says 1 when something served is not durable at the end, and what", async () => {
    const server = await place.serve(...listen(), "x", "y");
    rmSync(place.path("x"));
    expect(await server.end()).toBe(1);
    expect(server.log.match(/not everything is durable.*/g)).toEqual([expect.stringMatching(/: x: .*deleted/)]);
    expect(server.log).toMatch(/export "x": not everything is durable[^]*ended\n$/);
  });

  /** A server of `x`, which lies on another server that takes no more requests, and of `y`. */
  const hanging = async (...words: string[]) => {
    const upstream = await place.serve("--listen", `unix:${place.path("up")}`, "x");
    const remote = `x=nbd+unix:///x?socket=${place.path("up")}`;
    const server = await place.serve(...listen(), "--nbd-timeout", "600000", ...words, remote, "y");
    const socket = connect(place.path("s"));
    const client = await opened(socket);
    expect((await client.write(0, Buffer.from("before"))).error).toBe(0);
    upstream.child.kill("SIGSTOP");
    return { server, client, socket };
  };

  it("waits for what hangs when a signal asks for the end, and ends at once on a second one, be it another one", async () => {
    const { server, client, socket } = await hanging();
    client.send(Command.READ, 0, 4096);
    const ended = server.end("SIGTERM");
    await server.said(/SIGTERM: finishing what is under way/);
    expect(await Promise.race([ended, sleep(300, "waits")])).toBe("waits");
    server.child.kill("SIGINT");
    await ended;
    expect([server.child.exitCode, server.child.signalCode]).toEqual([null, "SIGINT"]);
    expect(server.log).not.toMatch(/ended\n$/);
    socket.destroy();
    // What it had is free: the device, and the name of its socket.
    expect(await (await place.serve(...listen(), "y")).end()).toBe(0);
  });

  it("has no more requests of a connection under way than --requests says, and reads no further ones (I12)", async () => {
    const { client, socket } = await hanging("--requests", "2");
    const block = Buffer.alloc(MIB, 7);
    const taken = async (at: number): Promise<void> => {
      client.send(Command.WRITE, at * MIB, MIB, 0, block);
      // More than a socket has room for.
      await new Promise((resolve) => socket.once("drain", resolve));
    };
    await taken(0);
    await taken(1);
    expect(await Promise.race([taken(2), sleep(500, "waits")])).toBe("waits");
    socket.destroy();
  });

  /** An owner of the export, which is told the number of its lease. */
  const owner = async (numbers: number[]): Promise<ScriptedClient> => {
    const client = new ScriptedClient(connect(place.path("s")));
    await client.greet();
    await client.option(8);
    const [context] = (await client.select(["h2ts:owner=0123456789abcdef/0"])).payloads;
    numbers.push(decodeMetaContext(context as Uint8Array).id);
    await client.go();
    return client;
  };

  it("opens a remote node again that was given up; its clients are cut, and told that it may be another's by then", async () => {
    const serveUpstream = (): Promise<RunningExport> => place.serve("--listen", `unix:${place.path("up")}`, "x");
    const upstream = await serveUpstream();
    const remote = `x=nbd+unix:///x?socket=${place.path("up")}`;
    const server = await place.serve(...listen(), "--nbd-timeout", "1000", remote, "y");
    const numbers: number[] = [];
    const client = await owner(numbers);
    expect((await client.write(MIB, Buffer.from("before"))).error).toBe(0);
    expect((await client.ask(Command.FLUSH, 0, 0)).error).toBe(0);
    await upstream.end("SIGKILL");
    client.send(Command.READ, MIB, 4096);
    await server.said(/export "x": nobody is let in until it can be opened again/);
    await expect.poll(() => client.stream.destroyed || client.stream.readableEnded).toBe(true);
    const waiting = new ScriptedClient(connect(place.path("s")));
    await waiting.greet();
    expect(await waiting.tryGo("x")).toMatchObject({ type: OptionReply.ERR_POLICY });
    expect(await waiting.tryGo("y")).toMatchObject({ type: OptionReply.ACK });
    waiting.leave();
    await server.said(/export "x": can't be opened: .*up/);
    await serveUpstream();
    await server.said(/export "x": open again/);
    const again = await owner(numbers);
    expect(numbers[1]).not.toBe(numbers[0]);
    expect((await again.ask(Command.READ, MIB, 6)).data.toString()).toBe("before");
    expect((await again.write(2 * MIB, Buffer.from("after"))).error).toBe(0);
    expect((await again.ask(Command.FLUSH, 0, 0)).error).toBe(0);
    again.leave();
    expect(await server.end()).toBe(0);
  });

  it("killed, it can be started again at once, and has what it answered, and whose the export was", async () => {
    const numbers: number[] = [];
    const owned = (): Promise<ScriptedClient> => owner(numbers);
    const first = await place.serve(...listen(), "x");
    const client = await owned();
    expect((await client.write(5 * MIB, Buffer.from("kept"))).error).toBe(0);
    await first.end("SIGKILL");
    await expect(client.answer()).rejects.toThrow();
    const second = await place.serve(...listen(), "x");
    const again = await owned();
    expect((await again.ask(Command.READ, 5 * MIB, 4)).data.toString()).toBe("kept");
    await second.end("SIGKILL");
    // Somebody on the server's machine may write there now.
    await (await openDevice(place.path("x"), { writable: true })).close();
    await place.serve(...listen(), "x");
    (await owned()).leave();
    expect(numbers[1]).toBe(numbers[0]);
    expect(numbers[2]).not.toBe(numbers[0]);
  });

  it("lets no more connections open an export than it may have, and nobody who does not open one keep others out", async () => {
    const server = await place.serve(...listen(), "-r", "--connections", "2", "x");
    const greeted = async (): Promise<ScriptedClient> => {
      const client = new ScriptedClient(connect(place.path("s")));
      await client.greet();
      return client;
    };
    const idle = [await greeted(), await greeted()];
    const readers = [await opened(), await opened()];
    await expect(idle[0]?.option(Option.LIST)).rejects.toThrow();
    const third = await greeted();
    expect(await third.tryGo()).toMatchObject({ type: OptionReply.ERR_POLICY });
    readers[0]?.leave();
    await expect.poll(() => third.tryGo()).toMatchObject({ type: OptionReply.ACK });
    expect(server.log.match(/hung up on: others want in/g)).toHaveLength(1);
    for (const client of [...idle, ...readers, third]) client.stream.destroy();
  });

  it("has threads enough that one hung device holds up no other", async () => {
    const server = await place.serve(...listen(), "x", "y");
    expect(readFileSync(`/proc/${server.child.pid}/environ`, "latin1")).toMatch(/UV_THREADPOOL_SIZE=12\0/);
  });

  it.each([
    [["missing"], /missing: no such file/],
    [["--allow", "alice", "x"], /only --psk-file or --tls-ca can prove/],
  ] as const)("refuses %j in one line", async (words, message) => {
    const { code, err } = await place.run("h2ts", "export", ...words);
    expect(code).not.toBe(0);
    expect(err).toMatch(message);
    expect(err.trim().split("\n")).toHaveLength(1);
  });

  it("warns once of what it serves to everybody", async () => {
    const server = await place.serve("--listen", "0.0.0.0:0", "x");
    expect(server.log.match(/warning: anybody on the network/g)).toHaveLength(1);
  });

  it("refuses an image that somebody uses, and a socket that somebody listens on", async () => {
    await place.serve(...listen(), "x");
    expect((await place.run("h2ts", "export", ...listen(), "x")).err).toMatch(/x: already in use/);
    expect((await place.run("h2ts", "export", ...listen(), "y")).err).toMatch(
      /can't listen here: another program does/,
    );
  });
});
