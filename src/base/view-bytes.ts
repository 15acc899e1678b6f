// The bytes that a DataView looks at, for what is no number.

/** A view of `lengthBytes` bytes from byte `at` of `v` on. */
export function bytesAt(v: DataView, at: number, lengthBytes: number): Uint8Array {
  return new Uint8Array(v.buffer, v.byteOffset + at, lengthBytes);
}
