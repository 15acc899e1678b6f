// Short texts on media: UTF-8, zero-padded to a fixed length. Control characters never reach a terminal from here.

import { FormatError } from "./format-error.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });
const CONTROL = /[\u0000-\u001f\u007f]/;

/** Writes `text` to `bytes` at `at`, zero-padded to `lengthBytes`. Throws FormatError when it is not fit for media. */
export function encodeText(text: string, bytes: Uint8Array, at: number, lengthBytes: number, place: string): void {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length > lengthBytes)
    throw new FormatError(place, `is ${encoded.length} bytes long; at most ${lengthBytes} fit`);
  if (CONTROL.test(text)) throw new FormatError(place, "contains control characters");
  bytes.fill(0, at, at + lengthBytes);
  bytes.set(encoded, at);
}

/** Reads a zero-padded text; throws FormatError when it is not UTF-8, has control characters, or dirty padding. */
export function decodeText(bytes: Uint8Array, at: number, lengthBytes: number, place: string): string {
  const field = bytes.subarray(at, at + lengthBytes);
  const zero = field.indexOf(0);
  const end = zero < 0 ? lengthBytes : zero;
  for (let i = end; i < lengthBytes; i++) if (field[i] !== 0) throw new FormatError(place, "padding is not zero");
  let text: string;
  try {
    text = decoder.decode(field.subarray(0, end));
  } catch {
    throw new FormatError(place, "is not UTF-8");
  }
  if (CONTROL.test(text)) throw new FormatError(place, "contains control characters");
  return text;
}
