// Bytes that lie in several buffers, in order.

/** How many they are. */
export function totalBytes(buffers: readonly Uint8Array[]): number {
  let lengthBytes = 0;
  for (const buffer of buffers) lengthBytes += buffer.length;
  return lengthBytes;
}
