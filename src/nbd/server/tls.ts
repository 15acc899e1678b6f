// The server's end of TLS: 1.2 or 1.3, with pre-shared keys, certificates, or both. A client proves who it is by its key.

import type { Duplex } from "node:stream";
import { createServer, type TLSSocket, type TlsOptions } from "node:tls";
import { NbdProtocolError } from "../wire/errors.ts";
import { provedByKey } from "../wire/key-proof.ts";
import type { PskKeys } from "./psk-file.ts";

/** What identities are proved by. PEM texts; with `ca` every client needs a certificate signed by it. */
export interface TlsKeys {
  readonly psk?: PskKeys | undefined;
  readonly certificate?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly ca?: string | undefined;
}

export interface SecureConnection {
  readonly stream: TLSSocket;
  readonly identity: string | undefined;
}

// With forward secrecy only: whoever gets hold of a key later can't read what was sent before. The first three are TLS 1.3.
const TLS_13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
// Suites by key are taken off the list here (-), not for ever (!): they may follow.
const WITH_CERTIFICATE = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:-aPSK";
const WITH_PSK =
  "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256";

/** What node:tls is to be given; throws where the keys do not fit together, without saying what is in them. */
export function tlsOptionsOf({ psk, certificate, privateKey, ca }: TlsKeys): TlsOptions {
  const suites = [TLS_13, ...(certificate === undefined ? [] : [WITH_CERTIFICATE]), ...(psk ? [WITH_PSK] : [])];
  return {
    minVersion: "TLSv1.2",
    maxVersion: "TLSv1.3",
    ciphers: suites.join(":"),
    dhparam: "auto",
    ...(certificate === undefined ? {} : { cert: certificate, key: privateKey }),
    // A client with a pre-shared key has no certificate, and OpenSSL does not ask it for one.
    ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true }),
  };
}

/**
 * Takes a connection over for TLS. Rejects with NbdProtocolError when the handshake fails; whoever gave the stream closes it.
 * Each connection has a context of its own, so no session is ever resumed past the check of its key.
 */
export function secure(raw: Duplex, keys: TlsKeys, handshakeMs: number): Promise<SecureConnection> {
  const { psk } = keys;
  /** Whom the client says to be; nothing of it is proved before the handshake is over. */
  let pskIdentity: string | undefined;
  return new Promise((resolve, reject) => {
    const fail = (error?: Error): void => {
      const { code, message } = (error ?? {}) as NodeJS.ErrnoException;
      reject(new NbdProtocolError("TLS handshake", code ?? message ?? "the other end hung up"));
    };
    const server = createServer({
      ...tlsOptionsOf(keys),
      handshakeTimeout: handshakeMs,
      ...(psk === undefined
        ? {}
        : {
            pskCallback: (_socket: TLSSocket, identity: string) => {
              const key = psk.get(identity);
              // The last one is the one that goes on to be proved.
              if (key !== undefined) pskIdentity = identity;
              return (key as NodeJS.TypedArray | undefined) ?? null;
            },
          }),
    });
    server.on("secureConnection", (stream) => {
      resolve({ stream, identity: provedByKey(stream) ? pskIdentity : commonNameOf(stream, keys) });
    });
    server.on("tlsClientError", fail);
    raw.once("close", () => fail());
    server.emit("connection", raw);
  });
}

/** The name in a certificate that was checked. */
function commonNameOf(stream: TLSSocket, { ca }: TlsKeys): string | undefined {
  if (ca === undefined) return undefined;
  const name: unknown = stream.getPeerCertificate().subject?.CN;
  return typeof name === "string" ? name : undefined;
}
