/* SPDX-License-Identifier: Apache-2.0
 * The shim as a program of its own, linked statically and carried inside the binary (shim_image.c): a process a task
 * must not load the libraries of a master. */
#include "agent/shim.h"

/* argv is as the binary's own: "conclave shim --dir D". */
int main(int argc, char **argv) {
    return shim_main(argc - 1, argv + 1);
}
