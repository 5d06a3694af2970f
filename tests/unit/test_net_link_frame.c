/* SPDX-License-Identifier: Apache-2.0 */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "net/link_frame.h"

struct sink {
    struct buf text; /* "type:length:first byte;" a frame */
    unsigned stop_at;
    unsigned n;
};

static bool on_frame(void *ctx, uint16_t type, const uint8_t *payload, size_t len) {
    struct sink *s = ctx;
    assert_non_null(payload);
    (void)buf_printf(&s->text, "%u:%zu:%c;", type, len, len ? payload[0] : '-');
    return ++s->n != s->stop_at;
}

static void put_frame(struct buf *b, uint16_t type, const char *a, const char *second) {
    uint8_t header[LINK_HEADER_BYTES];
    link_frame_header(header, 0, type, a, strlen(a), second, strlen(second));
    assert_int_equal(buf_append(b, header, sizeof header), 0);
    assert_int_equal(buf_append_str(b, a), 0);
    assert_int_equal(buf_append_str(b, second), 0);
}

static int feed_pieces(struct link_decoder *d, struct sink *s, const struct buf *b, size_t piece, struct err *err) {
    int rc = 0;
    for (size_t at = 0; at < b->len && rc == 0; at += piece) {
        size_t n = b->len - at < piece ? b->len - at : piece;
        uint8_t *copy = malloc(n);
        memcpy(copy, b->data + at, n);
        rc = link_decoder_feed(d, copy, n, on_frame, s, err);
        free(copy);
    }
    return rc;
}

static void frames_come_out_alike_in_pieces_of_any_size(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 20);
    put_frame(&b, 1, "", "");
    put_frame(&b, 2, "hello", " world");
    put_frame(&b, 65535, "", "x");
    for (size_t piece = 1; piece <= b.len; piece++) {
        struct sink s = {.n = 0};
        struct link_decoder d;
        struct err err;
        buf_init(&s.text, 1000);
        link_decoder_init(&d, 100);
        assert_int_equal(feed_pieces(&d, &s, &b, piece, &err), 0);
        assert_int_equal(s.text.len, 23);
        assert_memory_equal(s.text.data, "1:0:-;2:11:h;65535:1:x;", 23);
        link_decoder_done(&d);
        buf_done(&s.text);
    }
    buf_done(&b);
}

/* The outcome of the frame after `edit` bytes were put at `at`, and its checksum made right again if `seal`. */
static int outcome(size_t at, const char *edit, size_t edit_len, bool seal) {
    struct buf b;
    struct sink s = {.n = 0};
    struct link_decoder d;
    struct err err = {.text = ""};
    buf_init(&b, 1000);
    buf_init(&s.text, 1000);
    put_frame(&b, 7, "payload", "");
    memcpy(b.data + at, edit, edit_len);
    if (seal) store_u32(b.data + 12, crc32c(crc32c(0, b.data, 12), b.data + 16, b.len - 16));
    link_decoder_init(&d, 100);
    int whole = feed_pieces(&d, &s, &b, b.len, &err);
    link_decoder_done(&d);
    link_decoder_init(&d, 100);
    assert_int_equal(feed_pieces(&d, &s, &b, 1, &err), whole);
    link_decoder_done(&d);
    if (whole) assert_true(err.text[0] != '\0' && s.n == 0);
    buf_done(&s.text);
    buf_done(&b);
    return whole;
}

static void what_is_not_a_frame_of_ours_is_refused(void **state) {
    (void)state;
    assert_int_equal(outcome(0, "", 0, false), 0);
    assert_int_equal(outcome(0, "GET / HTTP/1.1\r\n", 16, false), ERR_PARSE);
    assert_int_equal(outcome(0, "X", 1, true), ERR_PARSE);
    assert_int_equal(outcome(4, "\2", 1, true), ERR_INCOMPATIBLE);
    assert_int_equal(outcome(5, "\2", 1, true), ERR_PARSE);
    assert_int_equal(outcome(5, "\1", 1, true), 0);
    assert_int_equal(outcome(8, "\377\377\377\377", 4, false), ERR_LIMIT);
    assert_int_equal(outcome(8, "\145", 1, false), ERR_LIMIT); /* 101 */
}

static void any_changed_bit_is_noticed(void **state) {
    (void)state;
    for (size_t at = 5; at < 23; at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct buf b;
            struct sink s = {.n = 0};
            struct link_decoder d;
            struct err err;
            buf_init(&b, 1000);
            buf_init(&s.text, 1000);
            put_frame(&b, 7, "payload", "");
            b.data[at] = (uint8_t)(b.data[at] ^ 1 << bit);
            link_decoder_init(&d, 1000);
            (void)feed_pieces(&d, &s, &b, b.len, &err);
            assert_int_equal(s.n, 0);
            link_decoder_done(&d);
            buf_done(&s.text);
            buf_done(&b);
        }
    }
}

static void a_callback_may_stop_the_decoder(void **state) {
    (void)state;
    struct buf b;
    struct sink s = {.stop_at = 2};
    struct link_decoder d;
    struct err err;
    buf_init(&b, 1000);
    buf_init(&s.text, 1000);
    for (int i = 0; i < 4; i++)
        put_frame(&b, 7, "payload", "");
    link_decoder_init(&d, 1000);
    assert_int_equal(feed_pieces(&d, &s, &b, b.len, &err), 0);
    assert_int_equal(s.n, 2);
    link_decoder_done(&d);
    buf_done(&s.text);
    buf_done(&b);
}

static void an_announced_length_is_not_allocated(void **state) {
    (void)state;
    uint8_t header[LINK_HEADER_BYTES];
    struct link_decoder d;
    struct sink s = {.n = 0};
    struct err err;
    link_frame_header(header, 0, 1, NULL, 0, NULL, 0);
    store_u32(header + 8, 1 << 30);
    link_decoder_init(&d, 1u << 31);
    assert_int_equal(link_decoder_feed(&d, header, sizeof header, on_frame, &s, &err), 0);
    assert_true(d.partial.cap <= 64);
    link_decoder_done(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_out_alike_in_pieces_of_any_size),
        cmocka_unit_test(what_is_not_a_frame_of_ours_is_refused),
        cmocka_unit_test(any_changed_bit_is_noticed),
        cmocka_unit_test(a_callback_may_stop_the_decoder),
        cmocka_unit_test(an_announced_length_is_not_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
