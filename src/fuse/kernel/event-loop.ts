// Puts a file descriptor into the event loop of Node itself: libuv then sleeps in one epoll_wait for requests, completions of
// devices, sockets, signals and timers alike, and an idle daemon costs nothing. Node offers this for no descriptor of ours, but
// its executable exports libuv.
//
// No JavaScript is called when the descriptor becomes readable; libuv calls a function of its own that has no effect
// (uv_is_active). What matters is that epoll_wait returned: the immediates run next, and the serving loop is one of them.

import koffi from "koffi";

const UV_POLL = 8;
const UV_READABLE = 1;
const UV_DISCONNECT = 4;

const libuv = koffi.load(null);
const uv_default_loop = libuv.func("void *uv_default_loop()") as () => unknown;
const uv_handle_size = libuv.func("size_t uv_handle_size(int type)") as (type: number) => number;
const uv_poll_init = libuv.func("int uv_poll_init(void *loop, void *handle, int fd)") as (
  loop: unknown,
  handle: Uint8Array,
  fd: number,
) => number;
const uv_poll_start = libuv.func("int uv_poll_start(void *handle, int events, void *callback)") as (
  handle: Uint8Array,
  events: number,
  callback: unknown,
) => number;
const uv_close = libuv.func("void uv_close(void *handle, void *callback)") as (
  handle: Uint8Array,
  callback: null,
) => void;

/** Handles libuv may still touch: memory it was given must stay where it is until its next turn after uv_close. */
const handles = new Set<Uint8Array>();

/**
 * Wakes the event loop of the main thread, where a FUSE session must be served, whenever a descriptor is readable, and keeps the process
 * alive until closed.
 */
export class Wakeup {
  readonly #handle = new Uint8Array(uv_handle_size(UV_POLL));
  #closed = false;

  constructor(fd: number) {
    const error = uv_poll_init(uv_default_loop(), this.#handle, fd);
    if (error !== 0) throw new Error(`the event loop does not take descriptor ${fd}: libuv error ${error}`);
    handles.add(this.#handle);
    this.#wakeOn(UV_READABLE);
  }

  #wakeOn(events: number): void {
    if (!this.#closed) uv_poll_start(this.#handle, events, libuv.symbol("uv_is_active"));
  }

  /** Until `resume` the event loop sleeps although the descriptor is readable, and the process is kept alive nevertheless. */
  pause(): void {
    this.#wakeOn(UV_DISCONNECT);
  }

  resume(): void {
    this.#wakeOn(UV_READABLE);
  }

  /** Call before the descriptor is closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const handle = this.#handle;
    uv_close(handle, null);
    // The closing phase of the current turn is the last to use it; two turns later is safe from wherever we were called.
    setImmediate(() => setImmediate(() => handles.delete(handle)));
  }
}
