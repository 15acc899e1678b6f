// h2ts export, and the programs people use NBD with: nbdinfo, nbdcopy, qemu-img, qemu-io, over unix sockets, TCP and TLS.

import { randomBytes } from "node:crypto";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ExportPlace, missingPrograms } from "./export-place.ts";

const MIB = 1024 * 1024;
const missing = missingPrograms("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "openssl");
if (missing !== undefined) console.warn(`export with tools: skipped: ${missing}`);

describe.skipIf(missing !== undefined)("h2ts export with the tools of others", () => {
  let place: ExportPlace;
  beforeEach(() => {
    place = new ExportPlace();
  });
  afterEach(() => place.dispose());

  const image = (name: string, sizeBytes: number): string => {
    writeFileSync(place.path(name), "");
    truncateSync(place.path(name), sizeBytes);
    return name;
  };
  const listen = (): string[] => ["--listen", `unix:${place.path("s")}`];

  it("nbdinfo sees what it is, and the list of exports", async () => {
    await place.serve(...listen(), image("x", 5 * MIB), `second=${image("y", MIB)}`);
    const { exports } = JSON.parse(await place.ok("nbdinfo", "--json", place.uri())) as {
      exports: Record<string, unknown>[];
    };
    expect(exports[0]).toMatchObject({
      "export-name": "x",
      "export-size": 5 * MIB,
      contexts: ["base:allocation"],
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_df: true,
      block_size_minimum: 1,
      block_size_maximum: 32 * MIB,
    });
    expect(await place.ok("nbdinfo", "--list", place.uri(""))).toMatch(/export="x":[^]*export="second":/);
  });

  it("nbdcopy brings an image there and back, its holes too", async () => {
    const content = randomBytes(3 * MIB + 512);
    writeFileSync(place.path("from"), Buffer.concat([content, Buffer.alloc(8 * MIB), content]));
    const server = await place.serve(...listen(), image("x", statSync(place.path("from")).size));
    await place.ok("nbdcopy", "--flush", place.path("from"), place.uri());
    await place.ok("nbdcopy", place.uri(), place.path("back"));
    expect(readFileSync(place.path("back")).equals(readFileSync(place.path("from")))).toBe(true);
    const map = await place.ok("nbdinfo", "--map", "--totals", place.uri());
    expect(map).toMatch(/hole,zero/);
    expect(await server.end()).toBe(0);
    expect(readFileSync(place.path("x")).equals(readFileSync(place.path("from")))).toBe(true);
  });

  it("nbdcopy reads over several connections where nobody may write", async () => {
    writeFileSync(place.path("x"), randomBytes(9 * MIB));
    const server = await place.serve(...listen(), "--read-only", "x");
    await place.ok("nbdcopy", "--connections=4", place.uri(), place.path("back"));
    expect(readFileSync(place.path("back")).equals(readFileSync(place.path("x")))).toBe(true);
    expect(server.log.match(/opened export "x" for reading/g)?.length).toBeGreaterThan(1);
    expect((await place.run("qemu-io", "-f", "raw", "-c", "write 0 512", place.uri())).code).not.toBe(0);
  });

  it("qemu-io writes, zeroes, discards, flushes and reads a row of nodes across its seams", async () => {
    image("left", 4 * MIB);
    image("right", 4 * MIB);
    await place.serve(...listen(), "x=left+right");
    const commands = [
      ...["write -P 7 0 8M", "write -f -P 9 4190000 10000", "write -z 1M 64k", "write -z -u 2M 3M", "discard 6M 1M"],
      ...["flush", "read -P 7 0 1M", "read -P 0 1M 64k", "read -P 0 2M 2090000", "read -P 7 5M 1M", "read -P 7 7M 1M"],
    ].flatMap((command) => ["-c", command]);
    const out = await place.ok("qemu-io", "-f", "raw", ...commands, place.uri());
    expect(out).not.toContain("verification failed");
    expect(statSync(place.path("left")).blocks * 512).toBeLessThan(3 * MIB);
  });

  it("qemu-img converts to it, checks it and compares", async () => {
    writeFileSync(place.path("from"), randomBytes(2 * MIB));
    truncateSync(place.path("from"), 16 * MIB);
    await place.serve("--listen", "127.0.0.1:0", image("x", 16 * MIB)).then(async (server) => {
      const [, port] = await server.said(/listening on 127\.0\.0\.1:(\d+)/);
      const uri = `nbd://127.0.0.1:${port}/x`;
      await place.ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", place.path("from"), uri);
      expect(await place.ok("qemu-img", "compare", "-f", "raw", "-F", "raw", place.path("from"), uri)).toMatch(
        /identical/,
      );
    });
  });

  it("a second writer is refused in words, and let in when the first has left", async () => {
    const server = await place.serve(...listen(), image("x", MIB));
    const first = place.ok("qemu-io", "-f", "raw", "-c", "read 0 512", "-c", "sleep 1000", place.uri());
    await server.said(/opened export "x" for writing/);
    const { code, err } = await place.run("nbdinfo", "--size", place.uri());
    expect(code).not.toBe(0);
    expect(err).toMatch(/policy prevents/);
    expect(server.log).toMatch(/refused: export "x" is in use by client \d+; one client at a time may write/);
    await first;
    expect(await place.ok("nbdinfo", "--size", place.uri())).toBe(`${MIB}\n`);
  });

  it("with a pre-shared key: those who have it get in, nobody else, and no key is ever shown", async () => {
    const keys = { alice: randomBytes(32).toString("hex"), bob: randomBytes(32).toString("hex") };
    const keyFile = (name: string, content: object): string => {
      const text = Object.entries(content).map(([identity, key]) => `${identity}:${key as string}\n`);
      writeFileSync(place.path(name), text.join(""), { mode: 0o600 });
      return place.path(name);
    };
    const good = keyFile("keys", keys);
    const swapped = keyFile("swapped", { alice: keys.bob });
    const server = await place.serve(
      ...listen(),
      "--psk-file",
      good,
      "--allow",
      "alice=x",
      image("x", MIB),
      image("y", MIB),
    );
    const secure = (user: string, file: string, name = "x"): string =>
      place.uri(name, `&tls-psk-file=${file}`, "nbds", `${user}@`);
    expect(await place.ok("nbdinfo", secure("alice", good))).toMatch(/with TLS/);
    const refusals = [place.uri(), secure("alice", swapped), secure("bob", good), secure("alice", good, "y")];
    for (const uri of refusals) expect((await place.run("nbdinfo", uri)).code, uri).not.toBe(0);
    expect((await place.run("nbdinfo", "--size", place.uri())).err).toMatch(/TLS/);
    for (const key of Object.values(keys)) expect(server.log).not.toContain(key);
    expect(readFileSync(`/proc/${server.child.pid}/cmdline`, "latin1")).not.toContain(keys.alice);
  });

  it("with a pre-shared key and plaintext allowed: an export without rules is for all, with TLS or not", async () => {
    const keys = place.path("keys");
    writeFileSync(keys, `alice:${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
    const tls = ["--tls", "allow", "--psk-file", keys];
    const secure = place.uri("x", `&tls-psk-file=${keys}`, "nbds", "alice@");
    const server = await place.serve(...listen(), ...tls, image("x", MIB));
    expect(await place.ok("nbdinfo", secure)).toMatch(/with TLS/);
    expect(await place.ok("nbdinfo", place.uri())).toMatch(/without TLS/);
    expect(await server.end()).toBe(0);
    const choosy = await place.serve(...listen(), ...tls, "--allow", "alice=x", place.path("x"));
    expect(await place.ok("nbdinfo", secure)).toMatch(/with TLS/);
    expect((await place.run("nbdinfo", place.uri())).code).not.toBe(0);
    expect(await choosy.end()).toBe(0);
    await place.serve(...listen(), "--tls", "off", "--psk-file", keys, place.path("x"));
    expect(await place.ok("nbdinfo", place.uri())).toMatch(/without TLS/);
    expect((await place.run("nbdinfo", secure)).code).not.toBe(0);
  });

  it("with certificates: only a client whose own is signed gets in", async () => {
    const openssl = (...words: string[]): Promise<string> => place.ok("openssl", ...words);
    const key = ["-newkey", "rsa:2048", "-nodes", "-sha256"];
    for (const ca of ["ca", "other"])
      await openssl(
        "req",
        "-x509",
        ...key,
        "-days",
        "2",
        "-subj",
        `/CN=${ca}`,
        "-keyout",
        `${ca}.key`,
        "-out",
        `${ca}.pem`,
      );
    const issue = async (folder: string, kind: string, ca: string, name: string): Promise<void> => {
      await place.ok("mkdir", "-p", folder);
      const file = place.path(`${folder}/${kind}`);
      await openssl("req", ...key, "-subj", `/CN=${name}`, "-keyout", `${file}-key.pem`, "-out", `${file}.csr`);
      writeFileSync(place.path("ext"), `subjectAltName=DNS:localhost\n`);
      const signed = ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-days", "2", "-extfile", "ext"];
      await openssl("x509", "-req", "-in", `${file}.csr`, ...signed, "-out", `${file}-cert.pem`);
      await place.ok("cp", "ca.pem", `${folder}/ca-cert.pem`);
    };
    await issue("server", "server", "ca", "localhost");
    await issue("alice", "client", "ca", "alice");
    await issue("mallory", "client", "ca", "mallory");
    await issue("stranger", "client", "other", "alice");
    const pem = (name: string): string => place.path(`server/${name}.pem`);
    const tls = ["--tls-cert", pem("server-cert"), "--tls-key", pem("server-key"), "--tls-ca", place.path("ca.pem")];
    const server = await place.serve("--listen", "127.0.0.1:0", ...tls, "--allow", "alice", image("x", MIB));
    const [, port] = await server.said(/listening on 127\.0\.0\.1:(\d+)/);
    const info = (who: string) =>
      place.run("nbdinfo", "--size", `nbds://localhost:${port}/x?tls-certificates=${place.path(who)}`);
    expect(await info("alice")).toMatchObject({ code: 0, out: `${MIB}\n` });
    for (const who of ["mallory", "stranger"]) expect((await info(who)).code, who).not.toBe(0);
    expect(server.log).toContain('(alice): opened export "x"');
  });
});
