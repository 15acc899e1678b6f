// Loaded before a program: where that is a worker, its next look for a request throws when there is a file `fail` in the folder named by
// H2TS_FAILS, as it does when the system has no memory left. The file goes with that.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";

const order = join(process.env["H2TS_FAILS"], "fail");
const { load } = koffi;
if (process.argv[1]?.endsWith("worker-main.js"))
  koffi.load = (...words) => {
    const library = load(...words);
    const func = (declaration, ...rest) => {
      const call = library.func(declaration, ...rest);
      return /^long read\(/.test(declaration) ? (...given) => (failIfAsked(), call(...given)) : call;
    };
    return { func, symbol: (...rest) => library.symbol(...rest) };
  };

function failIfAsked() {
  if (!existsSync(order)) return;
  rmSync(order);
  throw new RangeError("Array buffer allocation failed");
}
