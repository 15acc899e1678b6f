// Sizes as people write and read them: 512M, 10GiB, 1.5T. Powers of 1024 throughout, as mkfs, qemu-img and zfs take them.

const UNITS = ["", "K", "M", "G", "T", "P"];

/** Bytes named by `text` (a number, then optionally K M G T P, then optionally B or iB); undefined when it is none. */
export function parseByteSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGTP])?(?:i?B)?$/i.exec(text.trim());
  if (!match) return undefined;
  const bytes = Math.floor(Number(match[1]) * 1024 ** UNITS.indexOf((match[2] ?? "").toUpperCase()));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `bytes` in at most four characters of number and a unit: 0, 512, 1.50K, 12.3M, 256G. */
export function formatByteSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.round(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return String(bytes);
  const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)}${UNITS[unit]}`;
}
