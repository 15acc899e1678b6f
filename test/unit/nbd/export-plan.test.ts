// What h2ts export makes of its words, and what it refuses before it opens anything.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ExportFlags, type ExportPlan, planExport } from "../../../src/cli/export-plan.ts";
import { formatListenAddress, isLocal, parseListenAddress } from "../../../src/nbd/server/listen-address.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-plan-"));
  writeFileSync(join(folder, "no-pem"), "");
  writeFileSync(join(folder, "keys"), `alice:${"ab".repeat(32)}\n`);
  writeFileSync(join(folder, "a=b"), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const warnings: string[] = [];
const plan = (words: string[], flags: Partial<ExportFlags> = {}): ExportPlan =>
  planExport(words, { listen: [], allow: [], ...flags }, (line) => warnings.push(line));

describe("what to export", () => {
  it("is named after its first node, unless it is given a name or exists as it is", () => {
    expect(plan(["dir/a.img", "two=b.img+c.img", "d+e", join(folder, "a=b")]).exports).toEqual([
      { name: "a.img", target: "dir/a.img", nodes: 1 },
      { name: "two", target: "b.img+c.img", nodes: 2 },
      { name: "d", target: "d+e", nodes: 2 },
      { name: "a=b", target: join(folder, "a=b"), nodes: 1 },
    ]);
  });

  it("is served on this machine alone if nothing is said, and a warning goes with plaintext beyond it", () => {
    expect(plan(["x"]).addresses).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 10809 }]);
    warnings.length = 0;
    plan(["x"], { listen: ["unix:/s", "localhost:1", "[::1]:2"] });
    expect(warnings).toEqual([]);
    plan(["x"], { listen: [":10809"] });
    expect(warnings.join()).toMatch(/no TLS/);
  });

  it("warns when everybody may read the keys", () => {
    warnings.length = 0;
    expect(plan(["x"], { pskFile: join(folder, "keys"), allow: ["alice"] }).tls?.psk?.size).toBe(1);
    expect(warnings.join()).toMatch(/everybody may read/);
  });

  it("is served by TLS alone where there are keys, unless plaintext is asked for by a word", () => {
    const pskFile = join(folder, "keys");
    const tlsOf = (flags: Partial<ExportFlags>): unknown => {
      warnings.length = 0;
      const { tls, plaintextAllowed } = plan(["x"], { ...flags, listen: [":1"] });
      return { keys: tls?.psk?.size, plaintextAllowed, warned: warnings.filter((line) => line.includes("network")) };
    };
    expect(tlsOf({ pskFile })).toEqual({ keys: 1, plaintextAllowed: false, warned: [] });
    expect(tlsOf({ pskFile, tls: "require" })).toEqual({ keys: 1, plaintextAllowed: false, warned: [] });
    const allowed = { keys: 1, plaintextAllowed: true, warned: [expect.stringMatching(/does not ask for TLS/)] };
    expect(tlsOf({ pskFile, tls: "allow" })).toEqual(allowed);
    const off = { keys: undefined, plaintextAllowed: false, warned: [expect.stringMatching(/there is no TLS/)] };
    expect(tlsOf({ tls: "off" })).toEqual(off);
    expect(tlsOf({ pskFile, tls: "off" })).toEqual(off);
  });

  it.each([
    [["x"], { tls: "yes" }, /--tls yes: give one of require, allow, off/],
    [["x"], { tls: "require" }, /--tls require needs keys/],
    [["x"], { tls: "allow" }, /--tls allow needs keys/],
    [["x"], { tls: "off", pskFile: "missing", allow: ["alice"] }, /only --psk-file or --tls-ca can prove/],
    [[], {}, /give a target/],
    [["x", "sub/x"], {}, /two exports would be named x/],
    [["x"], { listen: ["nowhere:99999"] }, /no address/],
    [["x"], { listen: ["[1.2.3.4]:1"] }, /no address/],
    [["x"], { listen: ["unix:"] }, /path of the socket/],
    [["x"], { allow: ["alice"] }, /only --psk-file or --tls-ca can prove/],
    [["x"], { allow: ["alice=z"] }, /no export named z/],
    [["x"], { tlsCert: "c" }, /belong together/],
    [["x"], { tlsCa: "c" }, /needs --tls-cert/],
    [["x"], { pskFile: "missing" }, /missing: can't be read: ENOENT/],
    [["x"], { lease: "-1" }, /--lease -1: give a number/],
    [["x"], { connections: "0" }, /--connections 0: give a number/],
    [["x"], { nbdTimeout: "5" }, /--nbd-timeout 5: give a number from 100/],
    [["x+"], {}, /has no name/],
  ] as const)("%j with %j is refused", (words, flags, message) => {
    expect(() => plan([...words], flags)).toThrow(message);
  });

  it("lets nobody in without a key because there is a certificate, too", () => {
    const pair = join(folder, "pair.pem");
    const words = [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-subj",
      "/CN=s",
    ];
    execFileSync("openssl", [...words, "-keyout", pair, "-out", join(folder, "cert.pem")], { stdio: "pipe" });
    const flags = { pskFile: join(folder, "keys"), tlsCert: join(folder, "cert.pem"), tlsKey: pair };
    expect(() => plan(["x", "y"], flags)).toThrow(/lets in whoever has no key/);
    expect(() => plan(["x", "y"], { ...flags, allow: ["alice=x", "127.0.0.1"] })).toThrow(/--allow IDENTITY=y/);
    for (const more of [{ allow: ["alice"] }, { allow: ["alice=x", "alice=y"] }, { tlsCa: flags.tlsCert }])
      expect(plan(["x", "y"], { ...flags, ...more }).tls?.certificate).toMatch(/BEGIN CERT/);
  });

  it("refuses certificates that are none, without a word of what is in them", () => {
    const file = join(folder, "no-pem");
    expect(() => plan(["x"], { tlsCert: file, tlsKey: file })).toThrow(/no-pem: is no PEM file/);
    const bad = join(folder, "bad-pem");
    writeFileSync(bad, "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----\n");
    expect(() => plan(["x"], { tlsCert: bad, tlsKey: bad })).toThrow(/^the TLS files can't be used: [A-Z0-9_]+$/);
  });

  it.each(["127.0.0.1:10809", "[::1]:5", "host.example:7", "unix:/run/h2ts.sock"])("%s is an address", (text) => {
    const address = parseListenAddress(text);
    expect(formatListenAddress(address)).toBe(text);
    expect(isLocal(address)).toBe(text !== "host.example:7");
  });

  it("an address by a path that no socket can have is refused", () => {
    const path = "s".repeat(107);
    expect(parseListenAddress(`unix:${path}`)).toEqual({ kind: "unix", path });
    expect(() => parseListenAddress(`unix:${path}s`)).toThrow(/s: the path of a socket may be 107 bytes long$/);
  });
});
