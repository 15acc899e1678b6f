// What one check found, in the order it was found. Bounded, so that a crafted image can't fill memory (I12).

import { FINDINGS, type FindingName, findingId, type Severity } from "./findings.ts";
import type { Repair } from "./repair-plan.ts";

export interface Finding {
  /** Stable id of the kind, such as H2F-079-link-count. */
  readonly id: string;
  readonly name: FindingName;
  readonly severity: Severity;
  readonly repairable: boolean;
  /** One line that names the place and what is wrong. */
  readonly message: string;
  /** Copy concerned; absent when the fault is in what all copies share. */
  readonly copy?: number;
  readonly ino?: number;
  /** What would put it right; absent when it takes no step of its own. */
  readonly repair?: Repair;
}

export interface FindingPlace {
  /** Instead of that of the kind. */
  readonly severity?: Severity;
  readonly copy?: number;
  readonly ino?: number;
  readonly repair?: Repair;
}

const KEPT_PER_KIND = 10_000;

export class FindingList {
  readonly findings: Finding[] = [];
  readonly #keptPerKind: number;
  readonly #counts = new Map<FindingName, number>();

  constructor(keptPerKind = KEPT_PER_KIND) {
    this.#keptPerKind = keptPerKind;
  }

  add(name: FindingName, message: string, place: FindingPlace = {}): void {
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, count);
    if (count > this.#keptPerKind) return;
    const { severity, repair } = FINDINGS[name];
    const repairable = repair !== "none" || place.repair !== undefined;
    this.findings.push({ id: findingId(name), name, severity, repairable, message, ...place });
  }

  /** True while there is room for another finding of this kind. */
  keeps(name: FindingName): boolean {
    return (this.#counts.get(name) ?? 0) < this.#keptPerKind;
  }

  /** Findings that were counted but not kept. */
  get unlisted(): number {
    let sum = 0;
    for (const count of this.#counts.values()) sum += Math.max(0, count - this.#keptPerKind);
    return sum;
  }

  /** Says which kinds were cut short. */
  close(): readonly Finding[] {
    for (const [name, count] of [...this.#counts]) {
      if (count > this.#keptPerKind) this.add("truncated", `${count - this.#keptPerKind} more of ${findingId(name)}`);
    }
    return this.findings;
  }
}

/** True when nothing but notes was found. */
export function isClean(findings: readonly Finding[]): boolean {
  return findings.every((finding) => finding.severity === "note");
}
