// TLS to servers: keys and certificates that fit and that do not, servers without it, and whoever sits between and would rather
// see no TLS at all. No key ever shows in an error.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDevice } from "../../src/nbd/open.ts";
import { HandshakeFlag, Option, OptionReply } from "../../src/nbd/wire/constants.ts";
import { encodeGreeting } from "../../src/nbd/wire/greeting.ts";
import { encodeOptionReply } from "../../src/nbd/wire/option-reply.ts";
import { type ForeignServer, freePort, startNbdkit, startNbdkitOn, temporaryFolder } from "./foreign-servers.ts";

const MKFS = join(import.meta.dirname, "../../dist/mkfs/main.js");
const KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

let folder: ReturnType<typeof temporaryFolder>;
let running: ForeignServer[];
beforeEach(() => {
  folder = temporaryFolder();
  running = [];
});
afterEach(async () => {
  for (const server of running) await server.stop();
  folder.dispose();
});

const path = (name: string): string => join(folder.path, name);

/** A server behind a socket; what it is called over TLS. */
async function kit(...words: string[]): Promise<string> {
  const server = await startNbdkit(folder.path, [...words, "memory", "32M"], `kit${running.length}`);
  running.push(server);
  return server.target.replace("nbd+", "nbds+");
}

function keys(name: string, ...lines: string[]): string {
  writeFileSync(path(name), `${lines.join("\n")}\n`, { mode: 0o600 });
  return path(name);
}

async function works(target: string): Promise<void> {
  const device = await openDevice(target, { writable: true });
  const bytes = new Uint8Array(300_000).map((_, i) => i * 7);
  await Promise.all([0, 1, 2].map((i) => device.write(i * bytes.length, [bytes])));
  await device.flush();
  const found = new Uint8Array(bytes.length);
  await device.read(2 * bytes.length, [found]);
  expect(Buffer.compare(found, bytes)).toBe(0);
  await device.close();
}

async function refusal(target: string): Promise<Error & { code: string }> {
  const error: unknown = await openDevice(target, { writable: true }).then(
    (device) => device.close(),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Error);
  expect(String(error)).not.toMatch(/00112233|ff112233/);
  expect(String(error)).not.toContain("\n");
  return error as Error & { code: string };
}

describe("a pre-shared key", () => {
  it("opens the export of who has it", async () => {
    const psk = keys("server.psk", `alice:${KEY}`, `bob:${OTHER_KEY}`);
    const target = await kit("--tls=require", `--tls-psk=${psk}`);
    const mine = keys("mine.psk", "# ours", `alice:${KEY}`);
    await works(target.replace("nbds+unix://", "nbds+unix://alice@") + `&tls-psk-file=${mine}`);
    await works(`${target}&tls-psk-file=${mine}`);
    const named = await kit("--tls=require", `--tls-psk=${keys("named.psk", `änne:${KEY}`)}`);
    await works(`${named.replace("://", "://%C3%A4nne@")}&tls-psk-file=${path("named.psk")}`);
  });

  it("that is another one, of nobody, or none, opens nothing", async () => {
    const target = await kit("--tls=require", `--tls-psk=${keys("server.psk", `alice:${KEY}`)}`);
    const wrong = keys("wrong.psk", `alice:${OTHER_KEY}`, `carol:${KEY}`, "dave:not-hexadecimal");
    for (const who of ["alice", "carol"]) {
      const error = await refusal(`${target.replace("://", `://${who}@`)}&tls-psk-file=${wrong}`);
      expect(error).toMatchObject({ code: "EACCES", message: expect.stringMatching(/TLS failed/) as string });
    }
    for (const who of ["dave", "erin"]) {
      const error = await refusal(`${target.replace("://", `://${who}@`)}&tls-psk-file=${wrong}`);
      expect(error.message).toMatch(/has not got a usable key/);
    }
    expect((await refusal(`${target}&tls-psk-file=${path("absent.psk")}`)).message).toMatch(/absent.psk can't be read/);
    expect((await refusal(target.replace("nbds+", "nbd+"))).message).toMatch(/asks for TLS.*nbds:/);
  });
});

describe("a server without the key", () => {
  it("is refused, whatever certificate it has, even one of an authority that everybody trusts", async () => {
    const pki = certificates("pki", "elsewhere.example");
    const target = await kit("--tls=require", `--tls-certificates=${pki}`);
    const mine = keys("mine.psk", `alice:${KEY}`);
    const trusting = { ...process.env, NODE_EXTRA_CA_CERTS: join(pki, "ca-cert.pem") };
    const open = (query: string): { readonly status: number | null; readonly stderr: string } =>
      spawnSync(process.execPath, [MKFS, "-q", `${target}${query}`], { env: trusting, encoding: "utf8" });
    expect(open(`&tls-psk-file=${mine}`)).toMatchObject({
      stderr: expect.stringMatching(/TLS failed/) as string,
    });
    // The authority is trusted indeed.
    expect(open("&tls-hostname=elsewhere.example")).toMatchObject({ status: 0, stderr: "" });
  });
});

describe("certificates", () => {
  it("of an authority that we know open the export under the name they are for", async () => {
    const pki = certificates("pki", "storage.example");
    const target = await kit("--tls=require", `--tls-certificates=${pki}`);
    await works(`${target}&tls-certificates=${pki}&tls-hostname=storage.example`);
    const wrongName = await refusal(`${target}&tls-certificates=${pki}&tls-hostname=other.example`);
    expect(wrongName.message).toMatch(/TLS failed.*other.example/);
    const strangers = certificates("strangers", "storage.example");
    const stranger = await refusal(`${target}&tls-certificates=${strangers}&tls-hostname=storage.example`);
    expect(stranger).toMatchObject({ code: "EACCES", message: expect.stringMatching(/TLS failed/) as string });
  });

  it("are checked against the host over TCP, and the client's own where the server asks for them", async () => {
    const pki = certificates("pki", "localhost");
    const port = await freePort();
    running.push(
      await startNbdkitOn(port, ["--tls=require", `--tls-certificates=${pki}`, "--tls-verify-peer", "memory", "2M"]),
    );
    await works(`nbds://localhost:${port}/?tls-certificates=${pki}`);
    await works(`nbds://127.0.0.1:${port}/?tls-certificates=${pki}&tls-hostname=localhost`);
    const bare = certificates("pki", "localhost", false);
    expect((await refusal(`nbds://localhost:${port}/?tls-certificates=${bare}`)).code).toMatch(/EACCES|ENOTCONN/);
  });
});

describe("who asked for TLS", () => {
  it("does not go on without", async () => {
    const psk = keys("mine.psk", `alice:${KEY}`);
    const error = await refusal(`${await kit("--tls=off")}&tls-psk-file=${psk}`);
    expect(error).toMatchObject({ code: "EACCES", message: expect.stringMatching(/refuses TLS/) as string });
  });

  it.each([
    ["a refusal", [encodeOptionReply(Option.STARTTLS, OptionReply.ERR_UNSUP)]],
    ["a reply to something else", [encodeOptionReply(Option.GO, OptionReply.ACK)]],
    [
      "consent with words of somebody else behind it",
      [encodeOptionReply(Option.STARTTLS, OptionReply.ACK), encodeOptionReply(Option.GO, OptionReply.ACK)],
    ],
    ["consent that says more than it may", [encodeOptionReply(Option.STARTTLS, OptionReply.ACK, Buffer.from("x"))]],
    ["consent and no TLS", [encodeOptionReply(Option.STARTTLS, OptionReply.ACK), Buffer.from("garbage, not TLS")]],
  ])("says nothing but STARTTLS in the clear, whatever is answered: %s", async (_, answers) => {
    const heard: Buffer[] = [];
    const server: Server = createServer((socket) => {
      socket
        .on("error", () => undefined)
        .on("data", (chunk: Buffer) => {
          heard.push(chunk);
          // Flags and one option: its answer, in one piece.
          if (Buffer.concat(heard).length === 20) socket.write(Buffer.concat(answers));
        });
      socket.write(encodeGreeting(HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES));
    }).listen(path("between"));
    await once(server, "listening");
    try {
      const psk = keys("mine.psk", `alice:${KEY}`);
      await refusal(`nbds+unix://alice@/secret-export?socket=${path("between")}&tls-psk-file=${psk}`);
      const said = Buffer.concat(heard).toString("latin1");
      expect(said).not.toMatch(/secret-export|alice|00112233/);
      expect(said.slice(4, 12)).toBe("IHAVEOPT");
    } finally {
      server.close();
    }
  });
});

/** A folder as GnuTLS programs want it, of an authority of its own. */
function certificates(name: string, host: string, client = true): string {
  const at = path(`${name}${client ? "" : "-bare"}`);
  mkdirSync(at, { recursive: true });
  if (!client) {
    execFileSync("cp", [join(path(name), "ca-cert.pem"), at]);
    return at;
  }
  const openssl = (...words: string[]): void => void execFileSync("openssl", words, { cwd: at, stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  openssl("req", "-x509", ...curve, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", `/CN=${name} authority`);
  for (const who of ["server", "client"]) {
    openssl("req", ...curve.slice(0, -2), "-keyout", `${who}-key.pem`, "-out", `${who}.csr`, "-subj", `/CN=${host}`);
    writeFileSync(join(at, "extensions"), `subjectAltName=DNS:${host}\n`);
    const signed = ["-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2"];
    openssl("x509", "-req", "-in", `${who}.csr`, ...signed, "-extfile", "extensions", "-out", `${who}-cert.pem`);
  }
  return at;
}
