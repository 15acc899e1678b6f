// Whoever reads what a command prints may have had enough, as head has. That is no failure, and nothing to be said: what the
// command does, a repair say, it does to its end. Only one that is there to print for ever ends.

let isRead = true;

/** For every program, before it prints. */
export function passOverBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      if (stream === process.stdout) isRead = false;
    });
  }
}

/** False once nobody reads from stdout any more, which shows only when something was printed. */
export const outputIsRead = (): boolean => isRead;
