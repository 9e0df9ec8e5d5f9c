/* error.c - one line for each failure. */
#include "base/base.h"

#include <stdio.h>

nib_status nib_fail(nib_error *err, nib_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

nib_status nib_fail_in(nib_error *err, nib_status status, const char *format, ...)
{
    if (err) {
        char old[sizeof err->message];
        va_list args;
        int used;

        memcpy(old, err->message, sizeof old);
        va_start(args, format);
        used = vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        if (used >= 0 && (size_t)used + 3 < sizeof err->message)
            snprintf(err->message + used, sizeof err->message - (size_t)used, ": %.*s",
                     (int)(sizeof err->message - (size_t)used - 3), old);
        err->status = status;
    }
    return status;
}
