// V8's own functions, for what can't be seen but by asking it.

import { setFlagsFromString } from "node:v8";

/** Evaluates an expression of `value`, which may call such functions (%HasSmiElements(value)). */
export function native(expression: string, value: unknown): unknown {
  setFlagsFromString("--allow-natives-syntax");
  // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call
  return new Function("value", `return ${expression}`)(value);
}
