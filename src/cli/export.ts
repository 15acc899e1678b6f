// h2ts export: serves images, devices and rows of nodes to NBD clients, in the foreground, until it is told to end.

import type { Command } from "commander";
import type { ExportFlags } from "./export-plan.ts";

const HELP = `
ADDR is HOST:PORT, [V6]:PORT or unix:PATH (default 127.0.0.1:10809); --listen may be given several times.
WHO is an IP address, a network (192.0.2.0/24), or an identity: that of a pre-shared key, or the common name of a certificate.
With =EXPORT behind it, it is let in there only. Without --allow, whoever can connect is.
With --psk-file or --tls-cert nothing is served in plaintext, unless --tls allows it. MODE is require, allow or off. The file of
keys has lines of IDENTITY:KEY, the key in hex, as psktool writes them.
SIGTERM ends the server when all requests under way are answered and everything is flushed.`;

const all = (text: string, before: string[] = []): string[] => [...before, text];

export function addExport(program: Command): void {
  program
    .command("export")
    .description("serve images, devices or rows of nodes over NBD, in the foreground")
    .usage("[-r] [--listen ADDR]... [--allow WHO[=EXPORT]]... [--psk-file FILE] [NAME=]TARGET...")
    .argument("[targets...]", "what to serve; named after the file, or NAME=TARGET")
    .option("-l, --listen <ADDR>", "where to listen", all)
    .option("-r, --read-only", "let nobody write")
    .option("--allow <WHO>", "whom to let in", all)
    .option("--tls <MODE>", "require TLS, allow it, or off (default: require where there are keys)")
    .option("--psk-file <FILE>", "pre-shared keys of the clients")
    .option("--tls-cert <FILE>", "certificate of the server, PEM")
    .option("--tls-key <FILE>", "key of the certificate, PEM")
    .option("--tls-ca <FILE>", "let in only clients with a certificate signed by this one, PEM")
    .option("--lease <SECONDS>", "how long the lease of a client whose connection broke is kept for it (default 20)")
    .option("--connections <COUNT>", "connections of all clients at most (default 64)")
    .option("--requests <COUNT>", "requests under way on a connection at most (default 64)")
    .option("--nbd-timeout <MS>", "how long a request to a remote node may go without an answer (default 5000)")
    .addHelpText("after", HELP)
    .action(async (words: string[], flags: Partial<ExportFlags>) => {
      // Loaded here only: no other verb needs a server.
      const { serveExports } = await import("./serve-exports.ts");
      return serveExports(words, { listen: [], allow: [], ...flags });
    });
}
