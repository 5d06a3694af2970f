/* SPDX-License-Identifier: Apache-2.0
 * What the operator's tools read back: the first byte chooses an export of the log, the plan of a recovery (its
 * checksum put right, so that the fuzzer gets behind it), a configuration entry, or a position. What is accepted must
 * be sound. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "cli/export_file.h"
#include "cli/log_filter.h"
#include "cli/new_life.h"
#include "cli/plan_file.h"
#include "consensus/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t next, last;
};

static bool entry_seen(void *ctx, uint64_t index, uint64_t term, int type, const uint8_t *data, size_t len) {
    struct seen *s = ctx;
    volatile uint8_t sum = 0;
    CHECK(s->next == 0 || index == s->next);
    CHECK(index <= s->last && type >= 1 && type <= 3);
    (void)term;
    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + data[i]);
    s->next = index + 1;
    return true;
}

static void export_try(const uint8_t *data, size_t size) {
    struct export_header header;
    struct err err;
    FILE *in = size ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
    if (!in) return;
    if (export_header_read(in, &header, &err) == 0) {
        struct seen s = {.last = header.last};
        int rc = export_read(in, 0, UINT64_MAX, entry_seen, &s, &err);
        CHECK(rc != 0 || header.last + 1 == (s.next ? s.next : header.first));
    }
    (void)fclose(in);
}

static void plan_try(const uint8_t *data, size_t size) {
    struct arena arena;
    struct err err;
    Conclave__Tools__RecoverPlan *plan = NULL;
    uint8_t *text = malloc(size + 32);
    CHECK(text);
    if (size) memcpy(text, data, size);
    const uint8_t *newline = size ? memchr(text, '\n', size) : NULL;
    size_t first = newline ? (size_t)(newline - text) + 1 : size;
    int n = snprintf((char *)text + first, 32, "crc32c %08x\n", crc32c(0, text, first));
    arena_init(&arena, 8u << 20);
    int rc = plan_parse(text, first + (size_t)n, &arena, &plan, &err);
    if (rc == 0) CHECK(plan->n_folders >= 1 && plan->n_folders <= PLAN_FOLDERS_MAX && plan->index > plan->last);
    CHECK(rc == 0 || err.text[0]);
    arena_done(&arena);
    free(text);
}

static void members_try(const uint8_t *data, size_t size) {
    struct archive archive = {0};
    struct err err;
    if (archive_members_decode(data, size, &archive, &err)) return;
    CHECK(archive.member_count <= ARCHIVE_MEMBERS_MAX);
    for (unsigned i = 0; i < archive.member_count; i++)
        CHECK(strnlen(archive.members[i].address, ARCHIVE_ADDRESS_MAX) < ARCHIVE_ADDRESS_MAX);
}

static void text_try(const uint8_t *data, size_t size) {
    struct log_position position;
    struct archive_member members[ARCHIVE_MEMBERS_MAX];
    unsigned count = 0;
    struct err err;
    char *text = malloc(size + 1);
    CHECK(text);
    if (size) memcpy(text, data, size);
    text[size] = '\0';
    if (log_position_parse(text, &position, &err) == 0) CHECK(position.index > 0);
    if (members_parse(text, members, &count, &err) == 0) CHECK(count >= 1 && members[0].id > 0);
    (void)log_id_number(text, size & 1);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const tries[])(const uint8_t *data, size_t size) = {export_try, plan_try, members_try, text_try};
    if (size) tries[data[0] % 4](data + 1, size - 1);
    return 0;
}
