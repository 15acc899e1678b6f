// Whether a TLS handshake was one by a pre-shared key: that a key was asked for, or offered, says nothing. Where the other end, or
// whoever sits between, has other ideas, OpenSSL leaves the key aside and goes by a certificate.

import type { TLSSocket } from "node:tls";

/** For a connection without a session of an earlier one, when the handshake is over. */
export function provedByKey(stream: TLSSocket): boolean {
  // TLS 1.3 treats such a key as that of an earlier session.
  return stream.getProtocol() === "TLSv1.3"
    ? stream.isSessionReused()
    : stream.getCipher().standardName.includes("_PSK_");
}
