// TLS for a connection to a server: 1.2 or 1.3, with a pre-shared key or with certificates, as the target's files say. They are
// read for each connection anew. No key is ever part of an error or of a line of the log.

import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { connect, type ConnectionOptions, type PeerCertificate } from "node:tls";
import type { TlsParameters } from "../target.ts";
import { provedByKey } from "../wire/key-proof.ts";
import { NbdRefusedError } from "./refused-error.ts";

/** Suites of TLS 1.2 that agree on a key by the shared one, freshly where both can; those of 1.3 need no naming. */
const PSK_CIPHERS =
  "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES256-CBC-SHA384:DHE-PSK-AES256-GCM-SHA384:PSK-AES256-GCM-SHA384";
const NO_KEY = "the server does not have the key";

/** Puts TLS over `stream`. `host` is where it leads, by the target. Rejects with NbdRefusedError. */
export async function encrypt(stream: Duplex, tls: TlsParameters, host: string | undefined): Promise<Duplex> {
  const options = tls.pskFile === undefined ? await byCertificate(tls, host) : await byKey(tls.pskFile, tls.identity);
  const secured = connect({ ...options, socket: stream, minVersion: "TLSv1.2" });
  return new Promise((resolve, reject) => {
    const fail = (error?: Error): void => {
      secured.destroy();
      reject(new NbdRefusedError("tls-failed", `TLS failed: ${error?.message ?? "the other end hung up"}`));
    };
    secured.once("error", fail);
    secured.once("close", () => fail());
    secured.once("secureConnect", () => {
      if (tls.pskFile !== undefined && !provedByKey(secured)) return fail(new Error(NO_KEY));
      secured.off("error", fail);
      secured.on("error", () => undefined);
      resolve(secured);
    });
  });
}

async function byKey(path: string, identity: string | undefined): Promise<ConnectionOptions> {
  const keys = new Map<string, string>();
  for (const line of (await readSecret(path)).split("\n")) {
    const colon = line.lastIndexOf(":");
    if (colon > 0 && !line.startsWith("#")) keys.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  const name = identity ?? [...keys.keys()][0] ?? "";
  const key = keys.get(name);
  if (key === undefined || !/^([0-9a-fA-F]{2}){16,}$/.test(key)) {
    const whose = identity === undefined ? "a usable key" : `a usable key of '${identity}'`;
    throw new NbdRefusedError("tls-failed", `${path} has not got ${whose}; its lines are IDENTITY:HEXADECIMAL-KEY`);
  }
  return {
    ciphers: `${PSK_CIPHERS}:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256`,
    pskCallback: () => ({ psk: Buffer.from(key, "hex"), identity: name }),
    // Who has the key is who we mean. A certificate proves nothing here, whoever signed it.
    ca: [],
    checkServerIdentity: (_, certificate) => (isNone(certificate) ? undefined : new Error(NO_KEY)),
  };
}

const isNone = (certificate: PeerCertificate): boolean => Object.keys(certificate).length === 0;

async function byCertificate(tls: TlsParameters, host: string | undefined): Promise<ConnectionOptions> {
  const name = tls.hostname ?? host;
  const options: ConnectionOptions = {
    ...(name !== undefined && { host: name }),
    ...(name !== undefined && isIP(name) === 0 && { servername: name }),
  };
  const folder = tls.certificatesFolder;
  if (folder === undefined) return options;
  const ca = await readSecret(join(folder, "ca-cert.pem"));
  const [cert, key] = await Promise.all(
    ["client-cert.pem", "client-key.pem"].map((file) =>
      readSecret(join(folder, file)).catch((error: unknown) => {
        if (error instanceof NbdRefusedError && error.message.includes("ENOENT")) return undefined;
        throw error;
      }),
    ),
  );
  return { ...options, ca, ...(cert !== undefined && key !== undefined && { cert, key }) };
}

async function readSecret(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new NbdRefusedError(
      "tls-failed",
      `${path} can't be read: ${(error as NodeJS.ErrnoException).code ?? "error"}`,
    );
  }
}
