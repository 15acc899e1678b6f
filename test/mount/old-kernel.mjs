// Loaded before a program: what it reads of an INIT lacks the offer to send requests again, as with Linux before 6.9.
import koffi from "koffi";

const INIT = 26;
const HAS_RESEND = 1 << 7;
const { load } = koffi;
koffi.load = (...words) => {
  const library = load(...words);
  const func = (declaration, ...rest) => {
    const call = library.func(declaration, ...rest);
    return /^long read\(/.test(declaration) ? (fd, bytes, count) => withoutOffer(bytes, call(fd, bytes, count)) : call;
  };
  return { func, symbol: (...rest) => library.symbol(...rest) };
};

function withoutOffer(bytes, readBytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  // A header of 40 bytes; flags2 is the fifth word behind it.
  if (readBytes >= 60 && view.getUint32(4, true) === INIT) {
    view.setUint32(56, view.getUint32(56, true) & ~HAS_RESEND, true);
  }
  return readBytes;
}
