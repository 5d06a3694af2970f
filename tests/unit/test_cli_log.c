/* SPDX-License-Identifier: Apache-2.0
 * What the log verbs of the CLI are made of: positions, filters, the stream of a folder's entries, exports. */
#include "../lib/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/command_make.h"
#include "../lib/store_node.h"
#include "base/check.h"
#include "cli/export_file.h"
#include "cli/log_filter.h"
#include "cli/plain.h"
#include "consensus/entry.h"
#include "consensus/log_reader.h"

#define SEGMENT (8u * DISK_BLOCK)

/* ---- positions, ids ---- */

static void positions_are_read_strictly(void **state) {
    (void)state;
    struct log_position p;
    struct err err;
    assert_int_equal(log_position_parse("12", &p, &err), 0);
    assert_true(p.index == 12 && p.whole);
    assert_int_equal(log_position_parse("12.3", &p, &err), 0);
    assert_true(p.index == 12 && p.n == 3 && !p.whole);
    static const char *const wrong[] = {"",
                                        "0",
                                        "0.1",
                                        "x",
                                        "1.",
                                        ".1",
                                        "1.2.3",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1e3",
                                        "0x10",
                                        "18446744073709551615",
                                        "99999999999999999999",
                                        "1.4294967295"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(log_position_parse(wrong[i], &p, &err), ERR_INVALID);
}

static void positions_bound_commands_or_whole_entries(void **state) {
    (void)state;
    const struct log_position whole = {.index = 5, .whole = true}, one = {.index = 5, .n = 2};
    assert_true(log_position_before(4, 9, &whole) && !log_position_before(5, 0, &whole));
    assert_true(log_position_behind(6, 0, &whole) && !log_position_behind(5, 999, &whole));
    assert_true(log_position_before(5, 1, &one) && !log_position_before(5, 2, &one));
    assert_true(log_position_behind(5, 3, &one) && !log_position_behind(5, 2, &one));
}

static void ids_end_with_their_number(void **state) {
    (void)state;
    assert_int_equal(log_id_number("1a2b3c4d-1-0007", false), 7);
    assert_int_equal(log_id_number("1a2b3c4d-12-S3", true), 3);
    assert_int_equal(log_id_number("#9", true), 9);
    static const char *const others[] = {"1a2b3c4d-1-S3",
                                         "spark-1-0007",
                                         "1a2b3c4d-0007",
                                         "1a2b3c4d-x-0007",
                                         "",
                                         "1a2b3c4d-1-0007-retry-1",
                                         "#",
                                         "#x",
                                         "1a2b3c4d-1-99999999999"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(log_id_number(others[i], false), 0);
}

/* ---- filters ---- */

struct matches {
    const struct log_filter *filter;
    unsigned n;
};

static bool match_item(void *ctx, const struct log_item *item) {
    struct matches *m = ctx;
    m->n += log_filter_match(m->filter, item);
    return true;
}

/* How many of the entry's commands match. */
static unsigned matching(struct log_filter filter, const uint8_t *entry, size_t len) {
    struct err err;
    struct matches m = {.filter = &filter};
    bool go_on;
    assert_int_equal(log_filter_resolve(&filter, &err), 0);
    assert_int_equal(log_entry_items(20, 3, LOG_ENTRY_COMMANDS, entry, len, match_item, &m, &go_on, &err), 0);
    return m.n;
}

/* 20.0 accept of t1, t2 by framework 1 on agent 4; 20.1 report on t2 from agent 4; 20.2 kill of t3 by framework 2. */
static size_t entry_make(uint8_t **ret) {
    struct entry_builder b;
    const struct make_task tasks[] = {{.id = "t1", .amount = {.cpus = 1}}, {.id = "t2", .amount = {.cpus = 1}}};
    entry_builder_init(&b);
    struct made made = make_accept_many(1, 4, true, tasks, 2);
    assert_int_equal(entry_builder_add(&b, made.data, made.len), 0);
    made = make_report(4, "1a2b3c4d-0-0001", "t2", (struct launch_id){20, 0, 1}, TASK_RUNNING, TASK_RUNNING, 7);
    assert_int_equal(entry_builder_add(&b, made.data, made.len), 0);
    made = make_kill(2, "t3", -1);
    assert_int_equal(entry_builder_add(&b, made.data, made.len), 0);
    size_t len = entry_builder_size(&b);
    *ret = malloc(len);
    CHECK(*ret);
    entry_builder_encode(&b, *ret);
    entry_builder_done(&b);
    return len;
}

static void filters_match_by_typed_fields(void **state) {
    (void)state;
    uint8_t *entry;
    size_t len = entry_make(&entry);
    assert_int_equal(matching((struct log_filter){0}, entry, len), 3);
    assert_int_equal(matching((struct log_filter){.task = "t2"}, entry, len), 2); /* in the ACCEPT too, second place */
    assert_int_equal(matching((struct log_filter){.task = "t"}, entry, len), 0);
    assert_int_equal(matching((struct log_filter){.types = "task_kill"}, entry, len), 1);
    assert_int_equal(matching((struct log_filter){.types = "task_kill,accept"}, entry, len), 2);
    assert_int_equal(matching((struct log_filter){.framework = "1a2b3c4d-0-0001"}, entry, len), 2);
    assert_int_equal(matching((struct log_filter){.framework = "#1"}, entry, len), 2);
    assert_int_equal(matching((struct log_filter){.framework = "#2"}, entry, len), 1);
    assert_int_equal(matching((struct log_filter){.framework = "1a2b3c4d-0-0003"}, entry, len), 0);
    assert_int_equal(matching((struct log_filter){.agent = "#4"}, entry, len), 2);
    assert_int_equal(matching((struct log_filter){.agent = "1a2b3c4d-0-S4", .task = "t1"}, entry, len), 1);
    assert_int_equal(matching((struct log_filter){.from_text = "20.1"}, entry, len), 2);
    assert_int_equal(matching((struct log_filter){.from_text = "20.1", .to_text = "20.1"}, entry, len), 1);
    assert_int_equal(matching((struct log_filter){.to_text = "20"}, entry, len), 3);
    assert_int_equal(matching((struct log_filter){.from_text = "21"}, entry, len), 0);
    free(entry);
    make_done();
}

static void wrong_filters_are_named(void **state) {
    (void)state;
    struct err err;
    struct log_filter wrong[] = {{.types = "nosuch"},
                                 {.types = "accept,"},
                                 {.types = ""},
                                 {.from_text = "x"},
                                 {.to_text = "1.x"},
                                 {.from_text = "5", .to_text = "4"},
                                 {.from_text = "5.2", .to_text = "5.1"},
                                 {.agent = "host-1"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(log_filter_resolve(&wrong[i], &err), ERR_INVALID);
        assert_true(strlen(err.text) > 0);
    }
}

static void damaged_entries_are_told_with_their_position(void **state) {
    (void)state;
    uint8_t *entry;
    size_t len = entry_make(&entry);
    struct log_filter filter = {0};
    struct matches m = {.filter = &filter};
    struct err err;
    bool go_on;
    assert_int_equal(log_filter_resolve(&filter, &err), 0);
    entry[12] ^= 0xff; /* in the first command */
    assert_int_equal(log_entry_items(20, 3, 1, entry, len, match_item, &m, &go_on, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "20.0"));
    entry[0] ^= 0xff;
    assert_int_equal(log_entry_items(21, 3, 1, entry, len, match_item, &m, &go_on, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "21"));
    free(entry);
    make_done();
}

static void text_from_elsewhere_commands_no_terminal(void **state) {
    (void)state;
    char escapes[] = "a\x1b[31mb\x7f\xc2\x9b\xe2\x80\xae\xff\xe9z \xc3\xa9\n";
    text_plain(escapes);
    assert_string_equal(escapes, "a?[31mb?????z \xc3\xa9?");
}

/* ---- the stream of a folder ---- */

struct seen {
    uint64_t first, last, n, ids[64], stop_at;
};

static bool entry_seen(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct seen *s = ctx;
    (void)term;
    (void)type;
    if (s->n == 0) s->first = index;
    if (s->n) assert_int_equal(index, s->last + 1);
    assert_true(s->n < 64 && len >= 8);
    memcpy(&s->ids[s->n], data, 8);
    s->last = index;
    s->n++;
    return index != s->stop_at;
}

static struct log_reader *reader_open(struct node *node) {
    struct log_reader *r = NULL;
    struct err err;
    assert_int_equal(log_reader_open(sim_disk_face(node->disk), &r, &err), 0);
    return r;
}

static void node_fill(struct node *node, uint64_t term, uint64_t first_id, unsigned n) {
    bool acked[64];
    for (unsigned i = 0; i < n; i++) {
        node_append(node, term, first_id + i, 600 + i * 200, &acked[i]);
        node_settle(node);
    }
}

static void what_was_taken_back_is_not_shown(void **state) {
    (void)state;
    struct node node = {.disk = sim_disk_new(1), .segment_bytes = SEGMENT};
    struct err err;
    uint64_t id_six, id_new;
    uint8_t bytes[8];
    node_format(node.disk);
    node_bootstrap(&node);
    node_fill(&node, 1, 100, 9); /* entries 2..10 */
    assert_int_equal(store_truncate(node.store, 6), 0);
    node_fill(&node, 2, 200, 3); /* 6..8 */
    assert_int_equal(store_truncate(node.store, 8), 0);
    node_fill(&node, 3, 300, 20); /* 8..27, over several segments */
    struct log_reader *r = reader_open(&node);
    assert_int_equal(log_reader_span(r)->first, 1);
    assert_int_equal(log_reader_span(r)->last, 27);
    assert_int_equal(log_reader_span(r)->last_term, 3);
    struct seen s = {0};
    assert_int_equal(log_reader_walk(r, 0, UINT64_MAX, entry_seen, &s, &err), 0);
    assert_int_equal(s.n, 27);
    node_entry_fill(200, bytes, 8);
    memcpy(&id_six, bytes, 8);
    node_entry_fill(300, bytes, 8);
    memcpy(&id_new, bytes, 8);
    assert_int_equal(s.ids[5], id_six);
    assert_int_equal(s.ids[7], id_new);
    s = (struct seen){.stop_at = 7};
    assert_int_equal(log_reader_walk(r, 5, 9, entry_seen, &s, &err), 0);
    assert_true(s.first == 5 && s.last == 7);
    log_reader_close(r);
    node_done(&node);
    sim_disk_free(node.disk);
}

static void a_log_that_grows_or_is_cut_meanwhile_is_read_to_where_it_was(void **state) {
    (void)state;
    struct node node = {.disk = sim_disk_new(1), .segment_bytes = SEGMENT};
    struct err err;
    int status = -1;
    node_format(node.disk);
    node_bootstrap(&node);
    node_fill(&node, 1, 100, 20); /* 2..21 */
    struct log_reader *r = reader_open(&node);
    node_fill(&node, 1, 200, 5);
    struct seen s = {0};
    assert_int_equal(log_reader_walk(r, 0, UINT64_MAX, entry_seen, &s, &err), 0);
    assert_true(s.n == 21 && s.last == 21);
    node_snapshot(&node, 15, 1, 1, 9, 100, &status);
    node_settle(&node);
    node_snapshot(&node, 20, 1, 1, 9, 100, &status);
    node_settle(&node);
    s = (struct seen){0};
    int rv = log_reader_walk(r, 1, 21, entry_seen, &s, &err);
    assert_int_equal(rv, ERR_BUSY); /* its first segments were re-used */
    s = (struct seen){0};
    assert_int_equal(log_reader_walk(r, 16, 21, entry_seen, &s, &err), 0);
    assert_true(s.first == 16 && s.last == 21);
    log_reader_close(r);
    node_done(&node);
    sim_disk_free(node.disk);
}

/* ---- exports ---- */

static FILE *export_make(void) {
    FILE *f = tmpfile();
    struct export_writer w;
    struct export_header header = {.cluster_id = {1, 2, 3}, .first = 7, .last = 9};
    struct err err;
    assert_non_null(f);
    export_begin(&w, f, &header);
    assert_true(export_entry(&w, 7, 2, 3, (const uint8_t *)"\0\x01\x02\xff padded", 11));
    assert_true(export_entry(&w, 8, 2, 2, (const uint8_t *)"eight bytes", 11));
    assert_true(export_entry(&w, 9, 3, 1, (const uint8_t *)"nine bytes..", 12));
    assert_int_equal(export_end(&w, &err), 0);
    return f;
}

static bool exported(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    uint64_t *sum = ctx;
    if (index == 7) assert_true(type == 3 && len == 11 && !memcmp(data, "\0\x01\x02\xff padded", 11));
    if (index == 9) assert_true(term == 3 && type == 1);
    *sum += index;
    return true;
}

static void an_export_holds_the_exact_bytes(void **state) {
    (void)state;
    FILE *f = export_make();
    struct export_header header;
    struct err err;
    uint64_t sum = 0;
    assert_int_equal(export_header_read(f, &header, &err), 0);
    assert_true(header.first == 7 && header.last == 9 && header.cluster_id[2] == 3);
    assert_int_equal(export_read(f, 0, UINT64_MAX, exported, &sum, &err), 0);
    assert_int_equal(sum, 24);
    sum = 0;
    assert_int_equal(export_read(f, 8, 8, exported, &sum, &err), 0);
    assert_int_equal(sum, 8);
    (void)fclose(f);
}

static bool passed(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    (void)ctx;
    (void)data;
    return index >= 7 && index <= 9 && term > 0 && type >= 1 && type <= 3 && len < 4096;
}

/* Any changed byte and any missing end is noticed. */
static void a_damaged_export_is_refused(void **state) {
    (void)state;
    FILE *f = export_make();
    struct err err;
    char text[4096];
    rewind(f);
    size_t len = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    for (size_t i = 0; i < 2 * len; i++) {
        FILE *bad = tmpfile();
        assert_non_null(bad);
        char kept = text[i % len];
        text[i % len] ^= 1;
        assert_true(fwrite(text, 1, i < len ? len : i - len, bad) == (i < len ? len : i - len));
        text[i % len] = kept;
        int rv = export_read(bad, 0, UINT64_MAX, passed, NULL, &err);
        if (rv == 0) print_message("byte %zu of %zu, '%c'\n", i, len, kept);
        assert_int_not_equal(rv, 0);
        (void)fclose(bad);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_read_strictly),
        cmocka_unit_test(positions_bound_commands_or_whole_entries),
        cmocka_unit_test(ids_end_with_their_number),
        cmocka_unit_test(filters_match_by_typed_fields),
        cmocka_unit_test(wrong_filters_are_named),
        cmocka_unit_test(damaged_entries_are_told_with_their_position),
        cmocka_unit_test(text_from_elsewhere_commands_no_terminal),
        cmocka_unit_test(what_was_taken_back_is_not_shown),
        cmocka_unit_test(a_log_that_grows_or_is_cut_meanwhile_is_read_to_where_it_was),
        cmocka_unit_test(an_export_holds_the_exact_bytes),
        cmocka_unit_test(a_damaged_export_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
