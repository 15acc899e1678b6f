// Tests that this machine can't run are left out, so that `npm test` is of use anywhere. Where H2TS_TEST_ALL is set, as .ci/run has it,
// nothing may be left out for that: before the first test it is said what is lacking, and none runs.

import { missingPrograms } from "./nbd/export-place.ts";
import { mountsImpossible } from "./mount/cli-place.ts";
import { mayMount } from "./mount/null-mounted.ts";
import { TestHost } from "./mount/test-network.ts";

/** What this machine lacks, a line each. */
function lacking(): string[] {
  return [
    mountsImpossible(),
    mayMount() ? undefined : "/dev/fuse can't be opened",
    TestHost.possible ? undefined : "no network namespace can be made",
    missingPrograms("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "openssl", "fusermount3", "nsenter", "setpriv"),
  ].filter((line) => line !== undefined);
}

/** Called by vitest before all tests. */
export default function setup(): void {
  const lines = lacking();
  if (lines.length === 0) return;
  if (process.env["H2TS_TEST_ALL"] !== undefined) throw new Error(`not all tests can run here: ${lines.join("; ")}`);
  console.error(`some tests are left out: ${lines.join("; ")}`);
}
