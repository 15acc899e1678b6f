// Messages between supervisor and worker that one of them can't read, because they are of different versions (`h2ts upgrade`). Whoever
// waits for what comes of such a message is told at once: a mount that nobody serves must not wait for a word that never comes.

import { z } from "zod";
import { MountExit, WorkerOrder, WorkerReport } from "./messages.ts";

/** What can be read of any message. */
const Outline = z.object({ type: z.string().default("?"), id: z.number().optional() });
/** Has an id as questions have one, but is no question. */
const NOTICED = "noticed" satisfies WorkerOrder["type"];
/** Reports that a supervisor waits for. */
const MILESTONES: readonly string[] = ["opened", "serving"] satisfies WorkerReport["type"][];

export interface Unreadable {
  /** For people, in one line. */
  readonly line: string;
  /** What is to be said, or taken for said, by the worker, where somebody waits. */
  readonly instead: WorkerReport | undefined;
}

/** An order that a worker got and can't read; undefined for one that it can. */
export function unreadableOrder(message: unknown): Unreadable | undefined {
  const issue = issueOf(WorkerOrder, message);
  if (issue === undefined) return undefined;
  const { type, id } = outlineOf(message);
  const line = lineOf(`the supervisor's order "${type}"`, issue);
  if (type === "start") return { line, instead: failed(line) };
  return { line, instead: id === undefined || type === NOTICED ? undefined : { type: "answer", id, error: line } };
}

/** A report that a supervisor got and can't read; undefined for one that it can. */
export function unreadableReport(message: unknown): Unreadable | undefined {
  const issue = issueOf(WorkerReport, message);
  if (issue === undefined) return undefined;
  const { type, id } = outlineOf(message);
  const line = lineOf(`the worker's report "${type}"`, issue);
  if (MILESTONES.includes(type)) return { line, instead: failed(line) };
  return { line, instead: type === "answer" && id !== undefined ? { type, id, error: line } : undefined };
}

function issueOf(schema: z.ZodType, message: unknown): z.core.$ZodIssue | undefined {
  return schema.safeParse(message).error?.issues[0];
}

function outlineOf(message: unknown): z.infer<typeof Outline> {
  return Outline.safeParse(message).data ?? { type: "?" };
}

const failed = (message: string): WorkerReport => ({ type: "failed", message, exitCode: MountExit.SYSTEM });

function lineOf(what: string, { path, message }: z.core.$ZodIssue): string {
  const where = path.length === 0 ? "" : `${path.join(".")}: `;
  return `${what} makes no sense to this version: ${where}${message}`;
}
