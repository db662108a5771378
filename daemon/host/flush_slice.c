#include "host/flush_slice.h"

#include "host/flushes.h"

static bool count_message(void *user, const struct log_message *m)
{
    struct flush_slice *s = user;
    s->bytes += m->author_size + m->text_size;
    return s->each(s->each_user, m);
}

static int read_counted(void *user, slot_t from, size_t n_max, size_t bytes_max,
                        bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next)
{
    struct flush_slice *s = user;
    s->each = each;
    s->each_user = each_user;
    return s->read(s->read_user, from, n_max, bytes_max, count_message, s, ret_next);
}

void flush_slice_run(struct flush_slice *s, struct chatlog *c, chatlog_read read, void *read_user)
{
    slot_t before = chatlog_flushed(c);
    s->read = read;
    s->read_user = read_user;
    if (s->skip_to > before) {
        s->result = chatlog_skip(c, s->skip_to, s->error);
        s->skipped_from = s->result == 0 ? before + 1 : 0;
    }
    if (s->result == 0)
        s->result = chatlog_flush(c, s->upto, read_counted, s, &s->messages, s->error);
    s->flushed = chatlog_flushed(c);
    s->gap = chatlog_gap(c);
}

slot_t flush_slice_slots(slot_t slots, uint64_t bytes)
{
    slot_t n = FLUSH_SLICE_BYTES / (bytes / slots + 1);
    // cppcheck-suppress knownConditionTrueFalse ; count_message() counted the bytes
    if (n > FLUSH_SLICE_SLOTS_MAX)
        return FLUSH_SLICE_SLOTS_MAX;
    return n < FLUSH_SLICE_SLOTS_MIN ? FLUSH_SLICE_SLOTS_MIN : n;
}
