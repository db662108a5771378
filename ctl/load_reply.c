#include "ctl/load_reply.h"

#include <string.h>

enum { DIGITS_MAX = 18 };

static bool skip(const char **at, const char *end, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(end - *at) < n || memcmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

bool load_reply_read(const char *bytes, size_t size, int64_t *ret_slot)
{
    const char *at = bytes, *end = bytes + size;
    if (!skip(&at, end, "{\"parameters\":{\"slot\":"))
        return false;
    int64_t slot = 0;
    int digits = 0;
    for (; at < end && *at >= '0' && *at <= '9' && digits < DIGITS_MAX; digits++)
        slot = slot * 10 + (*at++ - '0');
    if (digits == 0 || !skip(&at, end, ",\"key\":\""))
        return false;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    if (!quote || memchr(at, '\\', (size_t)(quote - at)))
        return false;
    at = quote + 1;
    if (!skip(&at, end, ",\"duplicate\":") || (!skip(&at, end, "false") && !skip(&at, end, "true")))
        return false;
    if (!skip(&at, end, "}}") || at != end)
        return false;
    *ret_slot = slot;
    return true;
}
