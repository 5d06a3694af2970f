/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    int code;
    const char *name;
    const char *text;
    int http;
    int exit_status;
};

static const struct err_row rows[] = {{ERR_OK, "OK", "ok", 200, 0},
#define ERR_ROW(name, value, text, http, exit_status) {-(value), #name, text, http, exit_status},
                                      ERR_CODES(ERR_ROW)
#undef ERR_ROW
};

static const struct err_row unknown = {-9999, "UNKNOWN", "unknown error", 500, 1};

static const struct err_row *err_find(int code) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code) return &rows[i];
    return &unknown;
}

const char *err_name(int code) {
    return err_find(code)->name;
}

const char *err_text(int code) {
    return err_find(code)->text;
}

int err_http_status(int code) {
    return err_find(code)->http;
}

int err_exit_status(int code) {
    return err_find(code)->exit_status;
}

int(err_set)(struct err *err, int code, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    return code;
}

int(err_sys)(struct err *err, int sys, const char *fmt, ...) {
    int code = sys == ENOMEM ? ERR_NOMEM : sys == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->code = code;
        int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof err->text - 2)
            (void)snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", strerror(sys));
    }
    return code;
}

int(err_wrap)(struct err *err, const char *fmt, ...) {
    char old[sizeof err->text];
    if (!err) return ERR_IO;
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text - 2) {
        size_t room = sizeof err->text - (size_t)n;
        (void)snprintf(err->text + n, room, ": %.*s", (int)(room > 3 ? room - 3 : 0), old);
    }
    return err->code;
}
