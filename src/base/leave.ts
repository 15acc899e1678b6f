// The end of a command. A call on a device that does not answer holds a thread, and Node would wait for that thread when it ends:
// a command that has given such a device up, and said so, must not hang on it after all.

/** Ends the process with `process.exitCode`, whatever calls on files are still under way. What was printed is out: pipes are synchronous. */
export async function leave(): Promise<void> {
  if (process.getActiveResourcesInfo().some((resource) => resource.startsWith("FSReq"))) {
    const { default: koffi } = await import("koffi");
    const exitAtOnce = koffi.load(null).func("void _exit(int status)") as (status: number) => void;
    exitAtOnce(Number(process.exitCode ?? 0));
  }
  process.exit();
}
