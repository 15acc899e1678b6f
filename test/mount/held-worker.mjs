// Loaded before a program: where that is a worker, an order to it waits while there is a file `hold-ORDER` in the folder named by
// H2TS_HOLDS. A file `held-ORDER` says that it does.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.env["H2TS_HOLDS"];
const { emit } = process;
if (process.argv[1]?.endsWith("worker-main.js")) {
  process.emit = (event, message, ...rest) => {
    const deliver = () => emit.call(process, event, message, ...rest);
    if (event !== "message" || !existsSync(join(folder, `hold-${message.type}`))) return deliver();
    writeFileSync(join(folder, `held-${message.type}`), "");
    const timer = setInterval(() => {
      if (existsSync(join(folder, `hold-${message.type}`))) return;
      clearInterval(timer);
      deliver();
    }, 20);
    return true;
  };
}
