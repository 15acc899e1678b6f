// TLS between our client and our server over a stream in memory: which versions the two agree on, and that nothing below 1.2, nor
// a wrong key, gets anybody anywhere.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Duplex, duplexPair } from "node:stream";
import tls, { connect, createServer, type SecureVersion, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { encrypt } from "../../../src/nbd/client/encryption.ts";
import { parsePskKeys } from "../../../src/nbd/server/psk-file.ts";
import { secure, type TlsKeys } from "../../../src/nbd/server/tls.ts";

const KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEWEST = tls.DEFAULT_MAX_VERSION;
const HANDSHAKE_MS = 10_000;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-tls-"));
});
afterEach(() => {
  tls.DEFAULT_MAX_VERSION = NEWEST;
  rmSync(folder, { recursive: true, force: true });
});

const serverKeys = { psk: parsePskKeys(`alice:${KEY}`, "keys") };

/** Both ends, and all bytes that go between them. */
function wire(): { readonly client: Duplex; readonly server: Duplex; readonly said: Buffer[] } {
  const [client, server] = duplexPair();
  const said: Buffer[] = [];
  for (const end of [client, server]) {
    end.on("error", () => undefined);
    const push = end.push.bind(end);
    end.push = (chunk: Buffer | null, ...rest: BufferEncoding[]) => {
      if (chunk !== null) said.push(Buffer.from(chunk));
      return push(chunk, ...rest);
    };
  }
  return { client, server, said };
}

function clientOf(stream: Duplex, key = KEY, identity = "alice"): Promise<Duplex> {
  const pskFile = join(folder, "keys");
  writeFileSync(pskFile, `${identity}:${key}\n`);
  return encrypt(stream, { identity, pskFile, certificatesFolder: undefined, hostname: undefined }, undefined);
}

describe("our client and our server", () => {
  it.each<SecureVersion>(["TLSv1.2", "TLSv1.3"])(
    "agree on %s where that is the newest the client has",
    async (version) => {
      tls.DEFAULT_MAX_VERSION = version;
      const { client, server } = wire();
      const [there, here] = await Promise.all([secure(server, serverKeys, HANDSHAKE_MS), clientOf(client)]);
      expect(here).toMatchObject({ authorized: expect.any(Boolean) as boolean });
      expect((here as TLSSocket).getProtocol()).toBe(version);
      expect((here as TLSSocket).getCipher().standardName).toMatch(/DHE|^TLS_AES|^TLS_CHACHA20/);
      expect(there.identity).toBe("alice");
      here.write("hello");
      const heard = await new Promise<Buffer>((resolve) => there.stream.once("data", resolve));
      expect(heard.toString()).toBe("hello");
      here.destroy();
      there.stream.destroy();
    },
  );

  it.each<SecureVersion>(["TLSv1.2", "TLSv1.3"])(
    "in %s get nowhere with a wrong key, and none is ever on the wire",
    async (version) => {
      tls.DEFAULT_MAX_VERSION = version;
      for (const [key, identity] of [
        [OTHER_KEY, "alice"],
        [KEY, "mallory"],
      ] as const) {
        const { client, server, said } = wire();
        const ends = await Promise.allSettled([
          secure(server, serverKeys, HANDSHAKE_MS).finally(() => server.destroy()),
          clientOf(client, key, identity).finally(() => client.destroy()),
        ]);
        expect(ends.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
        const reasons = ends.map((end) => (end.status === "rejected" ? String(end.reason) : "")).join();
        const transcript = Buffer.concat(said);
        for (const secret of [KEY, OTHER_KEY]) {
          expect(reasons).not.toContain(secret);
          expect(transcript.includes(secret)).toBe(false);
          expect(transcript.includes(Buffer.from(secret, "hex"))).toBe(false);
        }
        expect(transcript.length).toBeGreaterThan(100);
      }
    },
  );
});

describe("keys and a certificate together", () => {
  const both = (): TlsKeys => {
    const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const words = ["req", "-x509", ...curve, "-keyout", keyFile, "-out", certFile, "-subj", "/CN=server"];
    execFileSync("openssl", words, { stdio: "pipe" });
    const [privateKey, certificate] = [readFileSync(keyFile, "latin1"), readFileSync(certFile, "latin1")];
    return { ...serverKeys, privateKey, certificate };
  };

  it.each<SecureVersion>(["TLSv1.2", "TLSv1.3"])("tell who has the key, in %s", async (version) => {
    tls.DEFAULT_MAX_VERSION = version;
    const { client, server } = wire();
    const [there, here] = await Promise.all([secure(server, both(), HANDSHAKE_MS), clientOf(client)]);
    expect(there.identity).toBe("alice");
    here.destroy();
    there.stream.destroy();
  });

  it.each<[SecureVersion, string]>([
    ["TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    // Keys go with SHA-256.
    ["TLSv1.3", "TLS_AES_256_GCM_SHA384"],
  ])("tell nobody who only names whose key it is and goes by the certificate, in %s", async (version, ciphers) => {
    const { client, server } = wire();
    const handshake = secure(server, both(), HANDSHAKE_MS);
    const asked = connect({
      ...{ socket: client, ciphers, maxVersion: version, rejectUnauthorized: false },
      pskCallback: () => ({ psk: Buffer.from(OTHER_KEY, "hex"), identity: "alice" }),
    });
    asked.on("error", () => undefined);
    const { stream, identity } = await handshake;
    expect({ identity, version: stream.getProtocol() }).toEqual({ identity: undefined, version });
    asked.destroy();
    stream.destroy();
  });
});

describe("an older version than 1.2", () => {
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" } as const;
  const psk = Buffer.from(KEY, "hex");

  it("of a client is refused by our server", async () => {
    const { client, server } = wire();
    const asked = connect({ ...old, socket: client, pskCallback: () => ({ psk, identity: "alice" }) });
    asked.on("error", () => undefined);
    await expect(secure(server, serverKeys, HANDSHAKE_MS)).rejects.toThrow(/VERSION|PROTOCOL/i);
    asked.destroy();
  });

  it("of a server is refused by our client", async () => {
    const { client, server } = wire();
    const answering = createServer({ ...old, pskCallback: () => psk });
    answering.on("tlsClientError", () => undefined);
    answering.emit("connection", server);
    await expect(clientOf(client)).rejects.toMatchObject({ name: "NbdRefusedError", kind: "tls-failed" });
  });
});
