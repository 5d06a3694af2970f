/* SPDX-License-Identifier: Apache-2.0
 * The codecs written by hand against protobuf-c, on the same bytes. The first byte says which message, the rest is it.
 * What the hand takes, protobuf-c takes with nothing unknown in it, and packs again to the same bytes; and so does the
 * hand. What protobuf-c packs again to the same bytes the hand must take, within its stated bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "scheduler/command.h"
#include "wire/protobuf.h"
#include "wire/report.h"

static uint8_t *packed(const ProtobufCMessage *m, size_t *ret_len) {
    *ret_len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = malloc(*ret_len ? *ret_len : 1);
    CHECK(bytes && protobuf_c_message_pack(m, bytes) == *ret_len);
    return bytes;
}

static bool packs_to(const ProtobufCMessage *m, const uint8_t *data, size_t len) {
    size_t n;
    uint8_t *bytes = packed(m, &n);
    bool same = n == len && memcmp(bytes, data, len) == 0;
    free(bytes);
    return same;
}

/* Whether the hand promises to read such a text. */
static bool text_plain(const char *text) {
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80) return false;
    return len <= CANONICAL_TEXT_MAX;
}

static void fuzz_report(const uint8_t *data, size_t len) {
    struct report_room room;
    const Conclave__Link__Report *ours = report_decode(&room, data, len);
    Conclave__Link__Report *theirs = conclave__link__report__unpack(NULL, len, data);
    if (ours) {
        struct buf again;
        buf_init(&again, len + 4096);
        CHECK(theirs && theirs->base.n_unknown_fields == 0 && theirs->launch->base.n_unknown_fields == 0);
        CHECK(protobuf_check(&conclave__link__report__descriptor, data, len, PROTOBUF_REFUSE_UNKNOWN, NULL) == 0);
        CHECK(packs_to(&theirs->base, data, len) && packs_to(&ours->base, data, len));
        CHECK(report_encode(ours, &again) == 0 && again.len == len && memcmp(again.data, data, len) == 0);
        buf_done(&again);
    } else if (theirs && packs_to(&theirs->base, data, len)) {
        bool known = theirs->base.n_unknown_fields == 0 && theirs->launch->base.n_unknown_fields == 0;
        CHECK(!known || !text_plain(theirs->framework_id) || !text_plain(theirs->task_id));
    }
    conclave__link__report__free_unpacked(theirs, NULL);
}

static bool command_plain(const Conclave__Log__Command *c) {
    unsigned bodies = 0;
#define BODY_COUNT(field, message, level) bodies += c->field != NULL;
    COMMANDS(BODY_COUNT)
#undef BODY_COUNT
    if (bodies != 1 || c->principal) return false;
    if (c->task_report) return text_plain(c->task_report->framework_id) && text_plain(c->task_report->task_id);
    return c->task_acknowledge && text_plain(c->task_acknowledge->task_id);
}

static void fuzz_command(const uint8_t *data, size_t len) {
    static struct command_room room;
    struct err err;
    const Conclave__Log__Command *ours = command_codec_decode(&room, data, len);
    Conclave__Log__Command *theirs = conclave__log__command__unpack(NULL, len, data);
    if (ours) {
        CHECK(theirs && message_known(&theirs->base, &err) == 0);
        CHECK(packs_to(&theirs->base, data, len) && packs_to(&ours->base, data, len));
        uint8_t *again = malloc(command_codec_bound(ours));
        CHECK(again && command_codec_encode(ours, again) == len && memcmp(again, data, len) == 0);
        free(again);
    } else if (theirs && message_known(&theirs->base, &err) == 0 && packs_to(&theirs->base, data, len)) {
        CHECK(!command_plain(theirs));
    }
    conclave__log__command__free_unpacked(theirs, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] % 2 == 0)
        fuzz_report(data + 1, size - 1);
    else
        fuzz_command(data + 1, size - 1);
    return 0;
}
