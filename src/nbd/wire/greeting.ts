// The first words: the server's greeting and the client's flags.

import { GREETING_MAGIC, HandshakeFlag, OPTION_MAGIC } from "./constants.ts";
import { FieldReader, FieldWriter } from "./fields.ts";

export const GREETING_BYTES = 18;
export const CLIENT_FLAGS_BYTES = 4;

/** What a server of fixed newstyle says first. `flags` are HandshakeFlag. */
export function encodeGreeting(flags: number): Uint8Array {
  return new FieldWriter(GREETING_BYTES)
    .u32(GREETING_MAGIC[0])
    .u32(GREETING_MAGIC[1])
    .u32(OPTION_MAGIC[0])
    .u32(OPTION_MAGIC[1])
    .u16(flags).bytes;
}

/** Gives the server's handshake flags; throws NbdProtocolError unless it speaks fixed newstyle. */
export function decodeGreeting(bytes: Uint8Array): number {
  const fields = new FieldReader(bytes, "greeting");
  if (fields.u32("magic") !== GREETING_MAGIC[0] || fields.u32("magic") !== GREETING_MAGIC[1])
    fields.fail("this is no NBD server");
  if (fields.u32("version") !== OPTION_MAGIC[0] || fields.u32("version") !== OPTION_MAGIC[1])
    fields.fail("an oldstyle server; only fixed newstyle is spoken");
  const flags = fields.u16("flags");
  fields.end();
  if ((flags & HandshakeFlag.FIXED_NEWSTYLE) === 0) fields.fail("a server without fixed newstyle");
  return flags;
}

export function encodeClientFlags(flags: number): Uint8Array {
  return new FieldWriter(CLIENT_FLAGS_BYTES).u32(flags).bytes;
}

/** Gives the client's flags; throws NbdProtocolError on any that no server offers. */
export function decodeClientFlags(bytes: Uint8Array): number {
  const fields = new FieldReader(bytes, "client flags");
  const flags = fields.u32("flags");
  fields.end();
  const known = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES;
  if ((flags & ~known) !== 0) fields.fail(`unknown flags 0x${flags.toString(16)}`);
  if ((flags & HandshakeFlag.FIXED_NEWSTYLE) === 0) fields.fail("a client without fixed newstyle");
  return flags;
}
