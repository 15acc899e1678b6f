// The kinds of records in the log as a table of docs/format.md, from the table by which the code writes and reads them.

import { RECORD_KINDS, type RecordField, type RecordFieldType, RESULT_KIND } from "../src/ops/record-kinds.ts";

/** What the prose calls a field's type. */
const TYPE_NAMES: Readonly<Record<RecordFieldType, string>> = {
  number: "number",
  boolean: "flag",
  bytes: "string",
  latin1: "string",
  time: "time",
};

/** One row for each kind: its number, its operation, its fields in their order. */
export function recordTable(): string {
  const rows = RECORD_KINDS.map(([op, fields], kind) => `| ${kind} | ${op} | ${fields.map(fieldText).join(", ")} |`);
  return [
    "| kind | operation | fields |",
    "|---:|---|---|",
    ...rows,
    `| ${RESULT_KIND} | none: what a request gave | \`result\` string |`,
  ].join("\n");
}

const fieldText = ([name, type, presence]: RecordField): string =>
  `\`${name}\` ${TYPE_NAMES[type]}${presence === "optional" ? "?" : ""}`;
