/* SPDX-License-Identifier: Apache-2.0
 * The agent and its shim as a program of their own, for tests that need no more of the binary. */
#include <string.h>

#include "agent/agent.h"

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "agent") == 0) return agent_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "shim") == 0) return shim_main(argc - 1, argv + 1);
    return 64;
}
