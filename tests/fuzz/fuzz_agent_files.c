/* SPDX-License-Identifier: Apache-2.0
 * The files an agent and a shim read back: first byte chooses which. Nothing may crash, and what is accepted must be
 * within its bounds. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fence.h"
#include "agent/launch_key.h"
#include "agent/sealed.h"
#include "agent/spec.h"
#include "agent/task_dir.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The body is the input, with a head that fits, so that the fuzzer gets behind the checksum. */
static char *sealed(const uint8_t *data, size_t size, uint32_t magic) {
    uint8_t *file = malloc(size + SEALED_HEAD);
    CHECK(file);
    memcpy(file + SEALED_HEAD, data, size);
    sealed_close(file, size + SEALED_HEAD, magic);
    return (char *)file;
}

static void spec_try(const uint8_t *data, size_t size) {
    static struct spec spec;
    struct err err;
    char *file = sealed(data, size, SPEC_MAGIC);
    memset(&spec, 0, sizeof spec);
    if (spec_decode(file, size + SEALED_HEAD, &spec, &err) == 0)
        CHECK(spec.file && spec.arg_n > 0 && spec.arg_n <= SPEC_STRINGS_MAX && !spec.args[spec.arg_n]);
    free(file);
}

static void exit_try(const uint8_t *data, size_t size) {
    struct exit_record record;
    struct err err;
    char *file = sealed(data, size, EXIT_MAGIC);
    if (exit_record_decode(file, size + SEALED_HEAD, &record, &err) == 0)
        CHECK(record.kind >= EXIT_STATUS && record.kind <= EXIT_NOT_RUN && strlen(record.text) < WORKLOAD_TEXT_MAX);
    free(file);
}

static void key_try(const uint8_t *data, size_t size) {
    struct launch_key key;
    size_t at = 0;
    char name[TASK_NAME_MAX];
    if (launch_key_decode(data, size, &at, &key) != 0) return;
    CHECK(at <= size && task_id_valid(key.task_id));
    task_id_encode(key.task_id, name);
    CHECK(*name && *name != '.' && !strchr(name, '/'));
    launch_key_done(&key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct updates updates;
    struct fence fence;
    if (size == 0) return 0;
    switch (data[0] % 5) {
    case 0:
        spec_try(data + 1, size - 1);
        break;
    case 1:
        exit_try(data + 1, size - 1);
        break;
    case 2:
        key_try(data + 1, size - 1);
        break;
    case 3:
        (void)fence_decode(data + 1, size - 1, &fence, NULL);
        break;
    default:
        updates_init(&updates);
        CHECK(updates_replay(data + 1, size - 1, &updates) <= size - 1);
        updates_done(&updates);
    }
    return 0;
}
