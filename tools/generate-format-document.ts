// Writes docs/format.md from the structures the code uses.
import { writeFileSync } from "node:fs";
import { formatDocument } from "./format-document.ts";

writeFileSync("docs/format.md", formatDocument());
