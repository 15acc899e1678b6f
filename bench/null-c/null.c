/* A filesystem that holds one empty root folder and one file of endless zeroes, on libfuse3's low-level interface: the peer that
   the transport of h2ts is measured against. Takes the usual libfuse arguments. */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NODE 2
#define FILE_BYTES (1LL << 40)
#define FOREVER 1e9
#define BUFFER_BYTES (1 << 20)

static char zeroes[BUFFER_BYTES];

static int attributes(fuse_ino_t ino, struct stat *st) {
  memset(st, 0, sizeof(*st));
  st->st_ino = ino;
  st->st_nlink = 1;
  if (ino == FUSE_ROOT_ID) {
    st->st_mode = S_IFDIR | 0755;
    st->st_nlink = 2;
  } else if (ino == FILE_NODE) {
    st->st_mode = S_IFREG | 0644;
    st->st_size = FILE_BYTES;
  } else {
    return ENOENT;
  }
  return 0;
}

static void null_init(void *data, struct fuse_conn_info *conn) {
  (void)data;
  conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
  conn->max_write = BUFFER_BYTES;
  conn->max_readahead = BUFFER_BYTES;
}

static void null_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
  struct fuse_entry_param entry = {.attr_timeout = FOREVER, .entry_timeout = FOREVER};
  if (parent == FUSE_ROOT_ID && strcmp(name, "zeroes") == 0) {
    entry.ino = FILE_NODE;
    attributes(FILE_NODE, &entry.attr);
  }
  fuse_reply_entry(req, &entry);
}

static void null_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
  struct stat st;
  (void)fi;
  int error = attributes(ino, &st);
  if (error)
    fuse_reply_err(req, error);
  else
    fuse_reply_attr(req, &st, FOREVER);
}

static void null_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi) {
  (void)attr;
  (void)to_set;
  null_getattr(req, ino, fi);
}

static void null_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
  (void)ino;
  fi->keep_cache = 1;
  fuse_reply_open(req, fi);
}

static void null_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi) {
  (void)ino;
  (void)offset;
  (void)fi;
  fuse_reply_buf(req, zeroes, size < sizeof(zeroes) ? size : sizeof(zeroes));
}

static void null_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                       struct fuse_file_info *fi) {
  (void)ino;
  (void)bytes;
  (void)offset;
  (void)fi;
  fuse_reply_write(req, size);
}

static const struct fuse_lowlevel_ops operations = {
    .init = null_init,
    .lookup = null_lookup,
    .getattr = null_getattr,
    .setattr = null_setattr,
    .open = null_open,
    .read = null_read,
    .write = null_write,
};

int main(int argc, char *argv[]) {
  struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
  struct fuse_cmdline_opts opts;
  int status = 1;
  if (fuse_parse_cmdline(&args, &opts) != 0 || opts.mountpoint == NULL) return 2;
  struct fuse_session *session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
  if (session != NULL && fuse_session_mount(session, opts.mountpoint) == 0) {
    status = fuse_session_loop(session) < 0;
    fuse_session_unmount(session);
  }
  if (session != NULL) fuse_session_destroy(session);
  free(opts.mountpoint);
  fuse_opt_free_args(&args);
  return status;
}
