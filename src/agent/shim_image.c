/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/shim_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

__asm__(".section .rodata\n"
        ".balign 16\n"
        ".global shim_image\n"
        ".hidden shim_image\n"
        "shim_image:\n"
        ".incbin \"" SHIM_IMAGE_PATH "\"\n"
        "1:\n"
        ".balign 8\n"
        ".global shim_image_size\n"
        ".hidden shim_image_size\n"
        "shim_image_size:\n"
        ".quad 1b - shim_image\n"
        ".previous\n");

int shim_image_open(void) {
    int fd = memfd_create("conclave-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -1;
    size_t len = (size_t)shim_image_size;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, shim_image + done, len - done);
        if (n <= 0) {
            (void)close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return fd;
}
