// The compiler writes plain files; the commands named in package.json must be executable after a build.
import { chmodSync, readFileSync } from "node:fs";

const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: Record<string, string> };
for (const path of Object.values(bin)) chmodSync(path, 0o755);
