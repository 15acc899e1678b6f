// Carries out one task and prints its figures: node client.js TASK DIRECTORY AMOUNTS.

import type { Amounts } from "./amounts.ts";
import { TASKS, type TaskName } from "./tasks.ts";

const [task, directory, amounts] = process.argv.slice(2) as [TaskName, string, string];
console.log(JSON.stringify(TASKS[task](directory, JSON.parse(amounts) as Amounts)));
