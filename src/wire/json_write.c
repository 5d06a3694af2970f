/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/json_write.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "wire/json.h"

void json_writer_init(struct json_writer *w, struct buf *out) {
    *w = (struct json_writer){.out = out};
}

int json_writer_finish(const struct json_writer *w) {
    CHECK(w->depth == 0 && w->has_items[0]);
    return w->out->failed ? ERR_LIMIT : 0;
}

/* What comes before a value: nothing after a key, a comma after an item. */
static void value_begin(struct json_writer *w) {
    if (w->depth > 0 && w->is_object[w->depth - 1]) {
        CHECK(w->key_given);
        w->key_given = false;
        return;
    }
    CHECK(w->depth > 0 || !w->has_items[0]);
    if (w->has_items[w->depth]) (void)buf_append_byte(w->out, ',');
    w->has_items[w->depth] = true;
}

static void level_begin(struct json_writer *w, bool object) {
    value_begin(w);
    CHECK(w->depth < JSON_WRITE_DEPTH_MAX);
    w->is_object[w->depth++] = object;
    w->has_items[w->depth] = false;
    (void)buf_append_byte(w->out, object ? '{' : '[');
}

static void level_end(struct json_writer *w, bool object) {
    CHECK(w->depth > 0 && w->is_object[w->depth - 1] == object && !w->key_given);
    w->depth--;
    (void)buf_append_byte(w->out, object ? '}' : ']');
}

void json_begin_object(struct json_writer *w) {
    level_begin(w, true);
}

void json_end_object(struct json_writer *w) {
    level_end(w, true);
}

void json_begin_array(struct json_writer *w) {
    level_begin(w, false);
}

void json_end_array(struct json_writer *w) {
    level_end(w, false);
}

void json_key(struct json_writer *w, const char *name) {
    CHECK(w->depth > 0 && w->is_object[w->depth - 1] && !w->key_given);
    if (w->has_items[w->depth]) (void)buf_append_byte(w->out, ',');
    w->has_items[w->depth] = true;
    w->key_given = true;
    (void)json_append_string(w->out, name, strlen(name));
    (void)buf_append_byte(w->out, ':');
}

void json_string(struct json_writer *w, const char *text) {
    if (text)
        json_string_len(w, text, strlen(text));
    else
        json_null(w);
}

void json_string_len(struct json_writer *w, const char *text, size_t len) {
    value_begin(w);
    (void)json_append_string(w->out, text, len);
}

void json_u64(struct json_writer *w, uint64_t v) {
    value_begin(w);
    (void)json_append_u64(w->out, v);
}

void json_i64(struct json_writer *w, int64_t v) {
    value_begin(w);
    (void)json_append_i64(w->out, v);
}

void json_double(struct json_writer *w, double v) {
    if (!isfinite(v)) {
        json_null(w);
        return;
    }
    value_begin(w);
    (void)json_append_double(w->out, v);
}

void json_milli(struct json_writer *w, int64_t milli) {
    value_begin(w);
    uint64_t size = milli < 0 ? (uint64_t)(-(milli + 1)) + 1 : (uint64_t)milli;
    if (milli < 0) (void)buf_append_byte(w->out, '-');
    (void)json_append_u64(w->out, size / 1000);
    if (size % 1000 == 0) return;
    char fraction[4] = {'.', (char)('0' + size / 100 % 10), (char)('0' + size / 10 % 10), (char)('0' + size % 10)};
    size_t len = sizeof fraction;
    while (fraction[len - 1] == '0')
        len--;
    (void)buf_append(w->out, fraction, len);
}

void json_bool(struct json_writer *w, bool v) {
    value_begin(w);
    (void)buf_append_str(w->out, v ? "true" : "false");
}

void json_null(struct json_writer *w) {
    value_begin(w);
    (void)buf_append_str(w->out, "null");
}

void json_message(struct json_writer *w, const ProtobufCMessage *message, unsigned flags) {
    value_begin(w);
    if (json_print(message, flags, w->out) == ERR_INVALID) (void)buf_append_str(w->out, "null");
}

void json_raw(struct json_writer *w, const void *text, size_t len) {
    value_begin(w);
    (void)buf_append(w->out, text, len);
}
