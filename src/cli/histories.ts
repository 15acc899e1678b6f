// What `h2ts resolve` shows before anything is given up: the history of each copy at hand and where those parted that went
// different ways, as JSON and as text. Field names are an interface to scripts: add, never rename.

import { formatUuid } from "../base/uuid.ts";
import { membersOf } from "../copies/copy-name.ts";
import { completeRoot, partingOf, wentApart } from "../copies/histories.ts";
import { type Ring, type RingSet, ringRoots } from "../copies/ring.ts";
import { HISTORY_ENTRIES } from "../format/history-entry.ts";
import { rootInSync, rootLabel } from "../format/root-block.ts";
import { rootHistory } from "../format/root-history.ts";
import { rootLastSeen } from "../format/root-members.ts";

/** Epochs shown to people; scripts get all. */
const EPOCHS_SHOWN = 4;

export interface CopyHistory {
  readonly index: number;
  readonly uuid: string;
  readonly targets: readonly string[];
  /** Sequence of its newest root; absent when it holds none. */
  readonly root?: number;
  /** It alone holds the volume as of that root. */
  readonly complete: boolean;
  /** Copies in sync as of that root, by index. */
  readonly inSync: readonly number[];
  /** Epochs with the highest root issued in each, newest first. */
  readonly history: readonly { readonly epoch: string; readonly root: number }[];
  /** The root it last saw each other copy with. */
  readonly lastSeen: readonly { readonly copy: number; readonly root: number }[];
}

export interface HistoriesReport {
  readonly volume: { readonly uuid: string; readonly label: string };
  readonly copies: readonly CopyHistory[];
  /** Pairs of copies that went different ways, with the last root both have; without one if they remember none. */
  readonly parted: readonly {
    readonly copies: readonly [number, number];
    readonly epoch?: string;
    readonly root?: number;
  }[];
}

export function historiesReport(rings: RingSet): HistoriesReport {
  const all = rings.rings;
  const label = all.flatMap((ring) => ringRoots(ring).map(({ view }) => rootLabel(view)))[0] ?? "";
  const parted = all.flatMap((one, i) => all.slice(i + 1).flatMap((other) => partedPair(one, other)));
  return { volume: { uuid: formatUuid(rings.copies.volumeUuid), label }, copies: all.map(copyHistory), parted };
}

function partedPair(one: Ring, other: Ring): HistoriesReport["parted"] {
  if (!wentApart(one, other)) return [];
  const [first] = ringRoots(one);
  const [second] = ringRoots(other);
  const parting = first && second && partingOf(first.view, second.view);
  const copies = [one.copy.index, other.copy.index] as const;
  return [{ copies, ...(parting && { epoch: formatUuid(parting.epoch), root: parting.sequence }) }];
}

function copyHistory(ring: Ring): CopyHistory {
  const { copy } = ring;
  const [newest] = ringRoots(ring);
  const identity = { index: copy.index, uuid: formatUuid(copy.uuid), targets: copy.targets };
  if (newest === undefined) return { ...identity, complete: false, inSync: [], history: [], lastSeen: [] };
  const { view } = newest;
  const members = membersOf(view).map(({ index }) => index);
  return {
    ...identity,
    root: newest.sequence,
    complete: completeRoot(ring) !== undefined,
    inSync: members.filter((index) => (rootInSync(view) & (1 << index)) !== 0),
    history: epochsOf(view),
    lastSeen: members
      .filter((index) => index !== copy.index)
      .map((index) => ({ copy: index, root: rootLastSeen(view, index)?.sequence ?? 0 })),
  };
}

function epochsOf(view: DataView): CopyHistory["history"] {
  const epochs = Array.from({ length: HISTORY_ENTRIES }, (_, entry) => rootHistory(view, entry));
  return epochs
    .filter(({ epoch }) => epoch.some((byte) => byte !== 0))
    .map(({ epoch, sequence }) => ({ epoch: formatUuid(epoch), root: sequence }));
}

/** The same for people, and what to do. */
export function historiesText({ volume, copies, parted }: HistoriesReport): string {
  const lines = [`volume ${volume.label === "" ? volume.uuid : `${volume.label} (${volume.uuid})`}`];
  for (const copy of copies) lines.push("", ...copyLines(copy));
  lines.push("");
  for (const pair of parted) {
    const [one, other] = pair.copies;
    const where =
      pair.root === undefined ? "and have no root in common" : `after root ${pair.root} of epoch ${short(pair.epoch)}`;
    lines.push(`Copy ${one} and copy ${other} went different ways ${where}.`);
  }
  const [first] = parted;
  if (first === undefined) return [...lines, "These copies have one history: mount them together."].join("\n");
  const targets = copies.map((copy) => copy.targets.join("+"));
  const target = copies.find(({ index }) => index === first.copies[0])?.targets.join("+");
  return [
    ...lines,
    "What was written up to there is on both, what was written later on one of them only. Look at either first:",
    `    h2ts mount -o ro ${target} DIR`,
    "Then keep one. What only the other has is lost, and it is caught up at the next mount of all:",
    ...[first.copies, [...first.copies].reverse()].map(
      ([keep, discard]) => `    h2ts resolve --keep ${keep} --discard ${discard} ${targets.join(" ")}`,
    ),
  ].join("\n");
}

function copyLines(copy: CopyHistory): string[] {
  const name = `copy ${copy.index}: ${copy.targets.join("+")}`;
  if (copy.root === undefined) return [name, "    holds no root of the volume"];
  const shown = copy.history
    .slice(0, EPOCHS_SHOWN)
    .map(({ epoch, root }) => `epoch ${short(epoch)} up to root ${root}`);
  const older = copy.history.length - shown.length;
  const others = copy.lastSeen.map(({ copy: other, root }) =>
    root === 0 ? `copy ${other} never` : `copy ${other} with root ${root}`,
  );
  return [
    name,
    `    newest root ${copy.root}, ${copy.complete ? "complete" : "not complete: it was being caught up"}`,
    `    history   ${shown.join(", ")}${older > 0 ? `, ${older} older` : ""}`,
    ...(others.length === 0 ? [] : [`    last saw  ${others.join(", ")}`]),
  ];
}

const short = (epoch: string | undefined): string => (epoch ?? "").slice(0, 8);
