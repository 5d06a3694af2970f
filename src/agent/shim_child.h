/* SPDX-License-Identifier: Apache-2.0
 * The shim's child between fork and exec: waits until it is in its control group and marked as started, then turns into
 * the command: own session, sandbox, files, user, copied URIs. */
#ifndef CONCLAVE_AGENT_SHIM_CHILD_H
#define CONCLAVE_AGENT_SHIM_CHILD_H

#include "agent/spec.h"

/* Reads one byte from `go_fd` (end of file: the shim gave up), then runs the command. On failure writes the reason to
 * `status_fd`, which exec closes. The working directory is the task's folder. */
_Noreturn void shim_child_run(const struct spec *spec, int go_fd, int status_fd);

#endif
