/* A message's line in the chat log file, as mpaxosd(8) has it, and without the daemon's code that writes it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/observer.h"

enum { HEAD_BYTES_MAX = 64 /* slot and time */, ESCAPE_BYTES = 4 };

static void put_text(struct chat_line *l, const uint8_t *text, uint32_t size)
{
    static const char named[] = "\\\t\n\r", names[] = "\\tnr";
    for (uint32_t i = 0; i < size; i++) {
        char *to = l->bytes + l->size;
        const char *of = memchr(named, text[i], sizeof(named) - 1);
        if (of)
            l->size += (size_t)sprintf(to, "\\%c", names[of - named]);
        else if (text[i] < ' ' || text[i] == 0x7f)
            l->size += (size_t)sprintf(to, "\\x%02x", text[i]);
        else
            l->bytes[l->size++] = (char)text[i];
    }
}

static struct chat_line *make(slot_t slot, uint64_t time_usec, const struct text_view *v)
{
    size_t most = HEAD_BYTES_MAX + ESCAPE_BYTES * ((size_t)v->author_size + v->text_size);
    struct chat_line *l = malloc(sizeof(*l) + most);
    time_t seconds = (time_t)(time_usec / 1000000);
    struct tm tm;
    if (!l)
        abort();
    l->size = (size_t)sprintf(l->bytes, "%" PRIu64 "\t", slot);
    l->size += strftime(l->bytes + l->size, HEAD_BYTES_MAX, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
    l->size += (size_t)sprintf(l->bytes + l->size, ".%06uZ\t", (unsigned)(time_usec % 1000000));
    put_text(l, v->author, v->author_size);
    l->bytes[l->size++] = '\t';
    put_text(l, v->text, v->text_size);
    l->bytes[l->size++] = '\n';
    return l;
}

const struct chat_line *chat_line(struct cluster *c, slot_t slot)
{
    struct log_slot *s = observer_slot_at(c, slot);
    if (!s->applied || !s->visible)
        return NULL;
    if (!s->line) {
        struct text_view v;
        text_view(s->chosen->bytes, &v);
        s->line = make(slot, s->time_usec, &v);
    }
    return s->line;
}
