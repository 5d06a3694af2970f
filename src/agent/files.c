/* SPDX-License-Identifier: Apache-2.0
 * /files/read, /files/browse, /files/download: what tasks wrote, for people (wire reference F.3).
 *
 * A sandbox is hostile ground: its owner may put links, pipes and devices there and swap them while we look. So a path
 * is opened once, by openat2 with RESOLVE_BENEATH, which no name and no link leads out of; what was opened is looked at
 * and then read through the same descriptor; and a file of another owner with a second name (a hard link to something
 * the task itself may not read) is refused. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "wire/json_write.h"

#define READ_BYTES_MAX    65536
#define BROWSE_MAX        10000
#define PATH_BYTES_MAX    4096
#define ANSWER_BYTES_MAX  (16u << 20)
#define DOWNLOAD_AHEAD    (1u << 20) /* bytes handed to the connection at a time */
#define DOWNLOAD_PAUSE_MS 2

static int open_beneath(int dir_fd, const char *path, uint64_t flags, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return (int)syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof how);
}

static const char *component(const char *at, char *ret, size_t size) {
    size_t len = strcspn(at, "/");
    if (len == 0 || len >= size) return NULL;
    memcpy(ret, at, len);
    ret[len] = '\0';
    return at + len;
}

/* "/frameworks/F/executors/E/runs/latest[/rest]". Returns the rest, and the task's folder in `folder`. */
static const char *virtual_path(const struct agent_process *a, const char *path, char *folder, size_t size) {
    static const char *const words[] = {"frameworks", "executors", "runs"};
    char names[3][TASK_ID_BYTES_MAX + 1], word[16];
    for (size_t i = 0; i < 3; i++) {
        if (*path != '/' || !(path = component(path + 1, word, sizeof word)) || strcmp(word, words[i]) != 0)
            return NULL;
        if (*path != '/' || !(path = component(path + 1, names[i], sizeof names[i]))) return NULL;
    }
    if (strcmp(names[2], "latest") != 0) return NULL;
    const char *found = task_table_latest_path(engine_tasks(a->engine), names[0], names[1]);
    if (!found) return NULL;
    (void)snprintf(folder, size, "%s", found);
    return path;
}

/* "<work>/tasks/F/T/I.N.K/sandbox[/rest]", as /state tells it. */
static const char *real_path(const struct agent_process *a, const char *path, char *folder, size_t size) {
    size_t len = strlen(a->store.work);
    char name[TASK_NAME_MAX];
    if (strncmp(path, a->store.work, len) != 0 || strncmp(path + len, "/tasks/", 7) != 0) return NULL;
    const char *begin = path + len + 1, *at = begin + 5;
    for (int i = 0; i < 3; i++) {
        if (*at != '/' || !(at = component(at + 1, name, sizeof name))) return NULL;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return NULL;
    }
    if ((size_t)(at - begin) >= size) return NULL;
    memcpy(folder, begin, (size_t)(at - begin));
    folder[at - begin] = '\0';
    if (*at != '/' || !(at = component(at + 1, name, sizeof name)) || strcmp(name, "sandbox") != 0) return NULL;
    return at;
}

/* Opens what `path` names, as O_PATH. Returns the descriptor, or minus the HTTP status. */
static int path_open(const struct agent_process *a, const char *path, struct stat *st) {
    char folder[TASK_PATH_MAX], sandbox[TASK_PATH_MAX + 16];
    struct stat owner;
    const char *rest = virtual_path(a, path, folder, sizeof folder);
    if (!rest) rest = real_path(a, path, folder, sizeof folder);
    if (!rest) return -404;
    while (*rest == '/')
        rest++;
    (void)snprintf(sandbox, sizeof sandbox, "%s/sandbox", folder);
    int root = open_beneath(a->store.work_fd, sandbox, O_PATH | O_DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    if (root < 0) return errno == ENOENT ? -404 : -403;
    int fd = open_beneath(root, rest, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
    int sys = errno;
    bool known = fstat(root, &owner) == 0;
    (void)close(root);
    if (fd < 0) return sys == ENOENT || sys == ENOTDIR || sys == ENAMETOOLONG ? -404 : -403;
    if (!known || fstat(fd, st) != 0 || (S_ISREG(st->st_mode) && st->st_nlink > 1 && st->st_uid != owner.st_uid)) {
        (void)close(fd);
        return -403;
    }
    return fd;
}

/* The same for reading. The kind was looked at before: opening a pipe or a device can have effects. */
static int file_open(const struct agent_process *a, const char *path, struct stat *st) {
    char self[40];
    int fd = path_open(a, path, st);
    if (fd < 0) return fd;
    int status = S_ISDIR(st->st_mode) ? -400 : !S_ISREG(st->st_mode) ? -403 : 0;
    int opened = -1;
    if (status == 0) {
        (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        opened = open(self, O_RDONLY | O_CLOEXEC);
        if (opened < 0) status = -403;
    }
    (void)close(fd);
    return status ? status : opened;
}

static void status_reply(struct http_exchange *x, int status) {
    http_error_reply(x, status, "%s",
                     status == 400   ? "Cannot read a directory"
                     : status == 403 ? "Not a readable file of the sandbox"
                                     : "No such file or directory");
}

/* A whole number in the query; `fallback` if it is not there. False if malformed. */
static bool query_number(const char *query, const char *name, int64_t fallback, int64_t *ret) {
    char text[32], *end;
    int rc = http_query_get(query, name, text, sizeof text);
    *ret = fallback;
    if (rc == ERR_NOT_FOUND || (rc == 0 && !*text)) return true;
    if (rc) return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || errno || value < -1) return false;
    *ret = value;
    return true;
}

/* Leaves out the beginning of a character that a longer read would have completed. */
static size_t utf8_whole(const char *data, size_t len) {
    for (size_t back = 1; back <= 3 && back < len; back++) {
        unsigned char c = (unsigned char)data[len - back];
        if (c < 0x80) return len;
        if (c < 0xc0) continue;
        size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        return want > back ? len - back : len;
    }
    return len;
}

static void json_reply(struct http_exchange *x, const struct buf *body) {
    const struct http_field type = {"Content-Type", "application/json"};
    if (body->failed)
        http_error_reply(x, 500, "The answer is too long");
    else
        http_reply(x, 200, &type, 1, body->data, body->len);
}

static void read_handle(struct agent_process *a, const struct http_request *request, const char *path) {
    int64_t offset, length;
    struct stat st;
    char data[READ_BYTES_MAX];
    if (!query_number(request->query, "offset", -1, &offset) || !query_number(request->query, "length", -1, &length)) {
        http_error_reply(request->exchange, 400, "Failed to parse offset or length");
        return;
    }
    int fd = file_open(a, path, &st);
    if (fd < 0) {
        status_reply(request->exchange, -fd);
        return;
    }
    size_t want = length < 0 || length > READ_BYTES_MAX ? READ_BYTES_MAX : (size_t)length;
    ssize_t n = 0;
    if (offset < 0)
        offset = st.st_size;
    else if (want > 0 && offset < st.st_size)
        n = pread(fd, data, want, (off_t)offset);
    (void)close(fd);
    if (n < 0) {
        http_error_reply(request->exchange, 500, "Reading failed: %s", strerror(errno));
        return;
    }
    size_t len = (size_t)n == want ? utf8_whole(data, (size_t)n) : (size_t)n;
    struct buf body;
    struct json_writer w;
    buf_init(&body, ANSWER_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_object(&w);
    json_key(&w, "data");
    json_string_len(&w, data, len);
    json_key(&w, "offset");
    json_i64(&w, offset);
    json_key(&w, "next"); /* where to go on, also when bytes that are no text were replaced */
    json_i64(&w, offset + (int64_t)len);
    json_end_object(&w);
    json_reply(request->exchange, &body);
    buf_done(&body);
}

static void mode_text(mode_t mode, char ret[11]) {
    static const char letters[] = "rwxrwxrwx";
    ret[0] = S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISFIFO(mode) ? 'p' : S_ISREG(mode) ? '-' : '?';
    for (int i = 0; i < 9; i++)
        ret[i + 1] = (char)(mode & (1u << (8 - i)) ? letters[i] : '-');
    ret[10] = '\0';
}

static void entry_write(struct json_writer *w, const char *path, const char *name, const struct stat *st) {
    char text[PATH_BYTES_MAX + 300], scratch[4096];
    struct passwd user, *user_found = NULL;
    struct group group, *group_found = NULL;
    size_t len = strlen(path);
    json_begin_object(w);
    json_key(w, "path");
    (void)snprintf(text, sizeof text, "%s%s%s", path, len && path[len - 1] == '/' ? "" : "/", name);
    json_string(w, text);
    json_key(w, "nlink");
    json_u64(w, st->st_nlink);
    json_key(w, "size");
    json_i64(w, st->st_size);
    json_key(w, "mtime");
    json_double(w, (double)st->st_mtim.tv_sec);
    json_key(w, "mode");
    mode_text(st->st_mode, text);
    json_string(w, text);
    json_key(w, "uid");
    (void)getpwuid_r(st->st_uid, &user, scratch, sizeof scratch, &user_found);
    (void)snprintf(text, sizeof text, "%u", (unsigned)st->st_uid);
    json_string(w, user_found ? user.pw_name : text);
    json_key(w, "gid");
    (void)getgrgid_r(st->st_gid, &group, scratch, sizeof scratch, &group_found);
    (void)snprintf(text, sizeof text, "%u", (unsigned)st->st_gid);
    json_string(w, group_found ? group.gr_name : text);
    json_end_object(w);
}

static void browse_handle(struct agent_process *a, const struct http_request *request, const char *path) {
    struct stat st;
    char self[40];
    int fd = path_open(a, path, &st);
    if (fd < 0 || !S_ISDIR(st.st_mode)) {
        if (fd >= 0) (void)close(fd);
        status_reply(request->exchange, fd < 0 ? -fd : 404);
        return;
    }
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int opened = open(self, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)close(fd);
    DIR *dir = opened >= 0 ? fdopendir(opened) : NULL;
    if (!dir) {
        if (opened >= 0) (void)close(opened);
        status_reply(request->exchange, 403);
        return;
    }
    struct buf body;
    struct json_writer w;
    struct dirent *e;
    buf_init(&body, ANSWER_BYTES_MAX);
    json_writer_init(&w, &body);
    json_begin_array(&w);
    for (unsigned n = 0; n < BROWSE_MAX && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        entry_write(&w, path, e->d_name, &st);
        n++;
    }
    json_end_array(&w);
    (void)closedir(dir);
    json_reply(request->exchange, &body);
    buf_done(&body);
}

/* ---- download: a stream that reads no further ahead than the connection takes ---- */

struct download {
    struct http_exchange *exchange;
    uv_timer_t timer;
    int fd;
    uint64_t left; /* of the size it had when it began */
};

static void download_closed_cb(uv_handle_t *handle) {
    free(handle->data);
}

static void download_end(struct download *d) {
    (void)close(d->fd);
    uv_close((uv_handle_t *)&d->timer, download_closed_cb);
}

static void download_gone_cb(void *ctx) {
    download_end(ctx);
}

static void download_timer_cb(uv_timer_t *timer) {
    struct download *d = timer->data;
    char block[32768];
    while (http_stream_backlog(d->exchange) < DOWNLOAD_AHEAD) {
        size_t want = d->left < sizeof block ? (size_t)d->left : sizeof block;
        ssize_t n = want ? read(d->fd, block, want) : 0;
        if (n <= 0) {
            http_stream_end(d->exchange);
            download_end(d);
            return;
        }
        d->left -= (uint64_t)n;
        if (http_stream_chunk(d->exchange, block, (size_t)n) != 0) return; /* `closed` follows */
    }
}

static void download_handle(struct agent_process *a, const struct http_request *request, const char *path) {
    struct stat st;
    int64_t offset; /* ours: where to begin, so that output can be followed byte by byte */
    if (!query_number(request->query, "offset", 0, &offset) || offset < 0) {
        http_error_reply(request->exchange, 400, "Failed to parse offset");
        return;
    }
    int fd = file_open(a, path, &st);
    struct download *d = fd >= 0 ? calloc(1, sizeof *d) : NULL;
    if (!d) {
        if (fd >= 0) (void)close(fd);
        status_reply(request->exchange, fd < 0 ? -fd : 403);
        return;
    }
    const struct http_field type = {"Content-Type", "application/octet-stream"};
    d->exchange = request->exchange;
    d->fd = fd;
    d->left = offset < st.st_size && lseek(fd, (off_t)offset, SEEK_SET) >= 0 ? (uint64_t)(st.st_size - offset) : 0;
    (void)uv_timer_init(&a->loop, &d->timer);
    d->timer.data = d;
    http_exchange_on_closed(d->exchange, download_gone_cb, d);
    http_stream_begin(d->exchange, 200, &type, 1);
    (void)uv_timer_start(&d->timer, download_timer_cb, 0, DOWNLOAD_PAUSE_MS);
}

bool files_handle(struct agent_process *a, const struct http_request *request) {
    static const struct {
        const char *path;
        void (*handle)(struct agent_process *, const struct http_request *, const char *);
    } routes[] = {{"/files/read", read_handle},
                  {"/files/read.json", read_handle},
                  {"/files/browse", browse_handle},
                  {"/files/browse.json", browse_handle},
                  {"/files/download", download_handle}};
    char path[PATH_BYTES_MAX];
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(request->path, routes[i].path) != 0) continue;
        if (http_query_get(request->query, "path", path, sizeof path) != 0 || !*path)
            http_error_reply(request->exchange, 400, "Expecting 'path=value' in query.");
        else
            routes[i].handle(a, request, path);
        return true;
    }
    return false;
}
