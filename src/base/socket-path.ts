// How long the path of a unix socket may be (unix(7)). Node cuts off what is longer, and listens or connects somewhere else.

export const SOCKET_PATH_BYTES_MAX = 107;

/** Why there can be no socket by this path; undefined where there can. */
export function socketPathRefusal(path: string): string | undefined {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return undefined;
  return `the path of a socket may be ${SOCKET_PATH_BYTES_MAX} bytes long`;
}
