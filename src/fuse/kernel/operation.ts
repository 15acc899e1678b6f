// What the dispatch table holds: how one opcode is carried out and how its result becomes an answer.
// `run` may end at once or with a promise; `encode` is called in the same step that sends the answer.

import type { Eventually } from "../../base/eventually.ts";
import type { FileSystemRequests } from "../../posix/requests.ts";
import type { ListingHabit } from "./listing-habit.ts";
import type { Negotiated } from "./negotiation.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import type { WriteBackErrors } from "./write-back-errors.ts";

/** What an operation may use of the session it runs in. */
export interface OperationContext {
  readonly fs: FileSystemRequests;
  /** Settled by INIT. */
  negotiated: Negotiated | undefined;
  /** Which attributes listings get. */
  readonly habit: ListingHabit;
  /** What programs have to be told of write-back. */
  readonly writeBackErrors: WriteBackErrors;
}

export interface Operation<T = unknown> {
  /** Size of the fixed structure; a request with a shorter body is malformed. */
  readonly bodyBytes: number;
  readonly run: (context: OperationContext, request: Request) => Eventually<T>;
  /** Writes the body of the answer and returns its length, or the errno to answer with, negative. Absent: the kernel expects no answer. */
  readonly encode: ((reply: Reply, value: T, request: Request) => number) | undefined;
  /** To be carried out when the kernel has written to us what it kept of the file's content. */
  readonly afterWriteBack?: boolean | undefined;
  /** The caller was gone before the answer: gives back what only the kernel could have given back. */
  readonly undelivered?: ((context: OperationContext, value: T, request: Request) => void) | undefined;
}

/**
 * Types one operation, then forgets the type of its result: only its own `encode` ever sees it. All have the same fields in the
 * same order, so that the session, which looks into one for every request, finds them without a search.
 */
export function operation<T>({ bodyBytes, run, encode, undelivered, afterWriteBack }: Operation<T>): Operation {
  return { bodyBytes, run, encode, undelivered, afterWriteBack } as unknown as Operation;
}

export const NO_BODY = (): number => 0;
