/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/launch_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

bool launch_key_equal(const struct launch_key *a, const struct launch_key *b) {
    return a->launch.index == b->launch.index && a->launch.n == b->launch.n && a->launch.k == b->launch.k &&
           strcmp(a->task_id, b->task_id) == 0 && strcmp(a->framework_id, b->framework_id) == 0;
}

uint64_t launch_key_hash(const struct launch_key *key) {
    return hash64_of(key->framework_id, strlen(key->framework_id)) * 31 + hash64_of(key->task_id, strlen(key->task_id));
}

int launch_key_copy(struct launch_key *ret, const struct launch_key *key) {
    size_t framework_len = strlen(key->framework_id) + 1;
    size_t task_len = strlen(key->task_id) + 1;
    char *both = malloc(framework_len + task_len);
    if (!both) return ERR_NOMEM;
    memcpy(both, key->framework_id, framework_len);
    memcpy(both + framework_len, key->task_id, task_len);
    *ret = (struct launch_key){both, both + framework_len, key->launch};
    return 0;
}

void launch_key_done(struct launch_key *key) {
    free((char *)(uintptr_t)key->framework_id);
    *key = (struct launch_key){0};
}

bool task_id_valid(const char *id) {
    size_t len = strlen(id);
    if (len == 0 || len > TASK_ID_BYTES_MAX || strcmp(id, ".") == 0 || strcmp(id, "..") == 0) return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)id[i];
        if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') return false;
    }
    return true;
}

static bool plain(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

void task_id_encode(const char *id, char ret[TASK_NAME_MAX]) {
    size_t n = 0, len = strlen(id);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)id[i];
        if (n + 3 > 200) {
            (void)snprintf(ret + n, TASK_NAME_MAX - n, "%%~%016llx", (unsigned long long)hash64_of(id, len));
            return;
        }
        if (plain(c) || (c == '.' && i > 0))
            ret[n++] = (char)c;
        else
            n += (size_t)snprintf(ret + n, 4, "%%%02X", c);
    }
    ret[n] = '\0';
}

static void id_put(struct buf *b, const char *id) {
    size_t len = strlen(id);
    CHECK(len <= TASK_ID_BYTES_MAX);
    (void)buf_append_byte(b, (uint8_t)len);
    (void)buf_append(b, id, len);
}

void launch_key_encode(const struct launch_key *key, struct buf *ret) {
    (void)buf_append_u64(ret, key->launch.index);
    (void)buf_append_u32(ret, key->launch.n);
    (void)buf_append_u32(ret, key->launch.k);
    id_put(ret, key->framework_id);
    id_put(ret, key->task_id);
}

static int id_take(const uint8_t *data, size_t len, size_t *at, char ret[TASK_ID_BYTES_MAX + 1]) {
    if (*at >= len) return ERR_CORRUPT;
    size_t n = data[(*at)++];
    if (n > len - *at) return ERR_CORRUPT;
    memcpy(ret, data + *at, n);
    ret[n] = '\0';
    *at += n;
    return strlen(ret) == n && task_id_valid(ret) ? 0 : ERR_CORRUPT;
}

int launch_key_decode(const uint8_t *data, size_t len, size_t *at, struct launch_key *ret) {
    char framework[TASK_ID_BYTES_MAX + 1], task[TASK_ID_BYTES_MAX + 1];
    size_t pos = *at;
    if (pos > len || len - pos < 16) return ERR_CORRUPT;
    struct launch_id launch = {load_u64(data + pos), load_u32(data + pos + 8), load_u32(data + pos + 12)};
    pos += 16;
    if (id_take(data, len, &pos, framework) || id_take(data, len, &pos, task)) return ERR_CORRUPT;
    int rc = launch_key_copy(ret, &(struct launch_key){framework, task, launch});
    if (rc == 0) *at = pos;
    return rc;
}
