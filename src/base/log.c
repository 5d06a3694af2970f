/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static enum log_level log_level_min = LOG_INFO;
static const char *log_who = "";

void log_setup(enum log_level level, const char *who) {
    log_level_min = level;
    log_who = who ? who : "";
}

void log_event(enum log_level level, const char *event, const char *fmt, ...) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < log_level_min) return;
    char line[2048];
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    int k = snprintf(line + n, sizeof line - n, ".%03ldZ %s %s%s%s ", ts.tv_nsec / 1000000, names[level], log_who,
                     *log_who ? " " : "", event);
    n += k > 0 ? (size_t)k : 0;
    if (n > sizeof line - 2) n = sizeof line - 2;
    size_t body = n;
    va_list ap;
    va_start(ap, fmt);
    k = vsnprintf(line + n, sizeof line - 1 - n, fmt, ap);
    va_end(ap);
    if (k > 0) n = (size_t)k < sizeof line - 2 - n ? n + (size_t)k : sizeof line - 2;
    for (size_t i = body; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
    line[n++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, n);
    (void)written; /* a closed stderr must not stop a master */
}
