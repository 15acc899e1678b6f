// In which order test files run. Those that mount mostly wait, those that simulate compute: where both are under way at any time,
// neither a processor idles nor a deadline of a mount passes for want of one. The longest first, since a run is over when its last file is.

import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take a minute or nearly; the others follow in the order of their size. */
const LONG = [
  "mount/data-real",
  "crash/power-cut-small",
  "mount/restart",
  "crash/copy-crashes",
  "mount/posix-kernel",
  "crash/power-cut-large",
  "mount/copies-stopped",
  "sim/members",
  "mount/remote-mounters",
  "sim/histories",
  "mount/remote-rotation",
  "sim/log",
  "mount/remote-scenario",
  "sim/replace-node",
  "mount/restart-spare",
  "mount/copies-rotation",
  "mount/suspend",
].map((name) => `/test/${name}.test.ts`);

const rank = ({ moduleId }: TestSpecification): number => {
  const at = LONG.findIndex((name) => moduleId.endsWith(name));
  return at < 0 ? LONG.length : at;
};
const waits = ({ moduleId }: TestSpecification): boolean => /\/test\/(mount|nbd)\//.test(moduleId);

export class Order extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const bySize = await super.sort(files);
    const sorted = bySize.toSorted((a, b) => rank(a) - rank(b));
    const [waiting, computing] = [sorted.filter(waits), sorted.filter((file) => !waits(file))];
    // Evenly mixed: the i-th of each kind stands where that part of its kind is done.
    const place = (list: readonly TestSpecification[], file: TestSpecification): number =>
      list.indexOf(file) / list.length;
    const kind = (file: TestSpecification): readonly TestSpecification[] => (waits(file) ? waiting : computing);
    return sorted.toSorted((a, b) => place(kind(a), a) - place(kind(b), b));
  }
}
