// How a filesystem answers a request that it may have to refuse.

import { FsError } from "../../src/base/errno.ts";

/** The errno of a request that is refused, "ok" when it is not. */
export async function refusal(request: () => unknown): Promise<string> {
  try {
    await request();
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
  return "ok";
}
