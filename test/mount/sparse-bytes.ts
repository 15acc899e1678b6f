// Bytes of a file with holes, kept in pages; a page that is absent reads as zeroes.

const PAGE_BYTES = 4096;

export class SparseBytes {
  readonly #pages = new Map<number, Uint8Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get allocatedBytes(): number {
    return this.#pages.size * PAGE_BYTES;
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    const length = Math.max(0, Math.min(lengthBytes, this.#size - offset));
    const out = new Uint8Array(length);
    this.#each(offset, length, (page, from, to, at) => {
      const bytes = this.#pages.get(page);
      if (bytes !== undefined) out.set(bytes.subarray(from, to), at);
    });
    return out;
  }

  write(offset: number, data: Uint8Array): void {
    this.allocate(offset, data.length);
    this.#each(offset, data.length, (page, from, to, at) => {
      this.#pages.get(page)?.set(data.subarray(at, at + to - from), from);
    });
    this.#size = Math.max(this.#size, offset + data.length);
  }

  /** Gives pages to a range without changing what it reads as, or the size. */
  allocate(offset: number, lengthBytes: number): void {
    this.#each(offset, lengthBytes, (page) => {
      if (!this.#pages.has(page)) this.#pages.set(page, new Uint8Array(PAGE_BYTES));
    });
  }

  punch(offset: number, lengthBytes: number): void {
    this.#each(offset, lengthBytes, (page, from, to) => {
      if (to - from === PAGE_BYTES) this.#pages.delete(page);
      else this.#pages.get(page)?.fill(0, from, to);
    });
  }

  truncate(size: number): void {
    if (size < this.#size) {
      const end = Math.ceil(this.#size / PAGE_BYTES) * PAGE_BYTES;
      this.punch(size, end - size);
      for (const page of this.#pages.keys()) if (page * PAGE_BYTES >= size) this.#pages.delete(page);
    }
    this.#size = size;
  }

  nextData(offset: number): number | undefined {
    for (let at = offset; at < this.#size; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
      if (this.#pages.has(Math.floor(at / PAGE_BYTES))) return at;
    }
    return undefined;
  }

  nextHole(offset: number): number {
    for (let at = offset; at < this.#size; at = (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES) {
      if (!this.#pages.has(Math.floor(at / PAGE_BYTES))) return at;
    }
    return this.#size;
  }

  #each(
    offset: number,
    lengthBytes: number,
    visit: (page: number, from: number, to: number, at: number) => void,
  ): void {
    const end = offset + lengthBytes;
    for (let position = offset; position < end; ) {
      const page = Math.floor(position / PAGE_BYTES);
      const from = position - page * PAGE_BYTES;
      const to = Math.min(PAGE_BYTES, from + end - position);
      visit(page, from, to, position - offset);
      position += to - from;
    }
  }
}
