#include "journal/explain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum journal_result explain(char *ret_error, enum journal_result result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(ret_error, JOURNAL_ERROR_MAX + 1, format, args);
    va_end(args);
    return result;
}

enum journal_result explain_errno(char *ret_error, int error, const char *what, const char *name)
{
    char text[128];
    const char *why = strerror_r(-error, text, sizeof text);

    if (error == -ENOSPC)
        return explain(ret_error, JOURNAL_NO_SPACE,
                       "%s: cannot %s it: %s. Free some space on the state directory's file system and start again",
                       name, what, why);
    return explain(
        ret_error, JOURNAL_IO,
        "%s: cannot %s it: %s. Nothing was changed; check the disk, the directory's owner and the kernel's log", name,
        what, why);
}

enum journal_result explain_version(char *ret_error, const char *name, uint32_t version)
{
    return explain(
        ret_error, JOURNAL_REFUSED,
        "%s: written in format version %u, and this release knows up to version %d. Use the release that wrote it", name,
        version, JOURNAL_VERSION);
}
