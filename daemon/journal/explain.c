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

static void cluster_text(const struct hash128 *h, char ret[33])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 16; i++) {
        ret[2 * i] = digits[h->bytes[i] >> 4];
        ret[2 * i + 1] = digits[h->bytes[i] & 15];
    }
    ret[32] = '\0';
}

enum journal_result explain_owner(char *ret_error, const struct identity *own, const struct owner *owner,
                                  const char *name)
{
    struct owner expected = owner_of(own);
    char theirs[33], ours[33];

    if (owner_equal(owner, &expected))
        return JOURNAL_OK;
    cluster_text(&owner->cluster, theirs);
    cluster_text(&own->cluster, ours);
    return explain(
        ret_error, JOURNAL_REFUSED,
        "%s: belongs to replica %u, life %016llx, of cluster %s, but this is replica %u, life %016llx, of cluster %s. "
        "Files of two replicas were mixed: put each one's own back",
        name, owner->id, (unsigned long long)owner->life, theirs, own->id, (unsigned long long)own->life, ours);
}

enum journal_result explain_version(char *ret_error, const char *name, uint32_t version)
{
    return explain(
        ret_error, JOURNAL_REFUSED,
        "%s: written in format version %u, and this release knows up to version %d. Use the release that wrote it",
        name, version, JOURNAL_VERSION);
}
