// Device numbers as the kernel packs them into 32 bits: 12 bits of major, 20 of minor. Those of stat are packed the same: what else
// would fit in 64 bits the kernel gives to no device.

/** The kernel's 32-bit device number (new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}

/** Major and minor of the kernel's 32-bit device number. */
export function decodeDevice(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}

/** `MAJ:MIN`, as /proc and /sys name devices. */
export function deviceName(rdev: number): string {
  const { major, minor } = decodeDevice(rdev);
  return `${major}:${minor}`;
}
