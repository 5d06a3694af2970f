/* SPDX-License-Identifier: Apache-2.0
 * replay DIR...: gives every file of the folders to the fuzz target once. The stand-in for libFuzzer's main in ordinary
 * builds. A folder that is missing counts as empty; the empty input is always given. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_BYTES_MAX (1u << 20) /* a seed is small; a larger file is not one */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Gives one file to the target; returns 0, or 1 if it could not be read. */
static int replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 1;
    uint8_t *data = malloc(SEED_BYTES_MAX);
    size_t size = data ? fread(data, 1, SEED_BYTES_MAX, file) : 0;
    int bad = data == NULL || ferror(file) || !feof(file);
    if (fclose(file) != 0) bad = 1;
    if (!bad) {
        /* A block of exactly the input's size, so that a sanitizer sees one byte too far. */
        uint8_t *exact = malloc(size ? size : 1);
        if (exact == NULL) abort();
        memcpy(exact, data, size);
        (void)LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    free(data);
    return bad;
}

/* Replays a folder; returns how many files could not be read and adds to `*count` those that were. */
static int replay_folder(const char *folder, int *count) {
    DIR *dir = opendir(folder);
    if (dir == NULL) return errno == ENOENT ? 0 : 1;
    int unread = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[4096];
        if (entry->d_name[0] == '.') continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path || replay_file(path) != 0) {
            fprintf(stderr, "cannot read %s/%s\n", folder, entry->d_name);
            unread++;
        } else {
            (*count)++;
        }
    }
    (void)closedir(dir);
    return unread;
}

int main(int argc, char **argv) {
    int count = 0, unread = 0;
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        unread += replay_folder(argv[i], &count);
    printf("%d seeds and the empty input replayed\n", count);
    return unread != 0;
}
