/* Read: once, or as a stream that never holds more than one reply that was not read. Either passes over many slots
 * without a message, and to where a tail begins, in several turns. */
#include <errno.h>
#include <string.h>

#include "host/log.h"
#include "host/methods.h"

enum { MESSAGE_OVERHEAD = 128 }; /* of one message in a reply, at least */

struct page {
    struct varlink_writer *w;
    size_t end; /* no further message begins behind it */
    uint64_t n;
    bool is_full;
    slot_t refused; /* the first that did not fit */
};

static bool add_message(void *user, const struct log_message *m)
{
    struct page *page = user;
    if (page->is_full)
        return false;
    if (page->n > 0 && page->w->size + m->text_size + m->author_size + MESSAGE_OVERHEAD > page->end) {
        page->is_full = true;
        page->refused = m->slot;
        return false;
    }
    varlink_write_open(page->w, NULL, '{');
    varlink_write_uint(page->w, "slot", m->slot);
    varlink_write_uint(page->w, "time_usec", m->time_usec);
    varlink_write_text(page->w, "author", m->author, m->author_size);
    varlink_write_text(page->w, "text", m->text, m->text_size);
    varlink_write_close(page->w, '}');
    page->n++;
    return true;
}

static void read_failed(struct connection *k, int error, slot_t slot)
{
    if (error == -ERANGE) {
        varlink_write_uint(reply_error_begin(k, INTERFACE_REPLICA ".SlotTrimmed"), "first_kept",
                           driver_first_kept(k->control->driver));
        reply_end(k, false);
        return;
    }
    log_limited(LOG_KIND_CONTROL, LOG_LEVEL_ERROR, "control socket: slot %llu cannot be read: %s",
                (unsigned long long)slot, strerror(-error));
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".SlotUnreadable");
    varlink_write_uint(w, "slot", slot);
    varlink_write_string(w, "reason", error == -EBADMSG ? "damaged on the disk" : strerror(-error));
    reply_end(k, false);
}

/* Writes one reply's messages; false: an error was answered. The reply is open then, and k->stream moved on. */
static bool write_page(struct connection *k, size_t bytes_max, uint64_t *ret_n)
{
    struct read_stream *s = &k->stream;
    struct varlink_writer *w = reply_begin(k);
    slot_t next = s->next;
    uint64_t n_max = s->left < CONTROL_READ_MESSAGES_MAX ? s->left : CONTROL_READ_MESSAGES_MAX;
    varlink_write_open(w, "messages", '[');
    struct page page = {.w = w, .end = w->size + bytes_max};
    int r = 0;
    if (n_max > 0 && next <= k->control->chosen)
        r = driver_read(k->control->driver, next, n_max, bytes_max, add_message, &page, &next);
    if (r < 0) {
        w->size = k->reply_start;
        read_failed(k, r, next);
        return false;
    }
    if (page.is_full)
        next = page.refused;
    if (next > s->next)
        s->next = next;
    s->left -= page.n;
    *ret_n = page.n;
    varlink_write_close(w, ']');
    varlink_write_uint(w, "next", s->next);
    return true;
}

static void end_stream(struct connection *k)
{
    if (!k->stream.once)
        k->stream_tail = true;
    method_cancel(k);
}

static void answer_page(struct connection *k)
{
    struct read_stream *s = &k->stream;
    if (s->seeks && !driver_tail(k->control->driver, &s->tail, &s->next)) {
        connection_wake(k);
        return;
    }
    s->seeks = false;
    slot_t begin = s->next;
    uint64_t n;
    if (!write_page(k, s->once ? CONTROL_READ_BYTES_MAX : CONTROL_CHUNK_BYTES, &n)) {
        if (!k->closing)
            end_stream(k);
        return;
    }
    bool at_end =
        s->left == 0 || (s->once && n > 0) || (!s->follow && (s->next > k->control->chosen || s->next == begin));
    if (at_end) {
        reply_end(k, false);
        end_stream(k);
    } else if (n > 0) {
        reply_end(k, true);
    } else {
        k->out.size = k->reply_start;
        if (s->next > begin) /* slots without a message */
            connection_wake(k);
    }
}

void read_pump(struct connection *k)
{
    const struct read_stream *s = &k->stream;
    connection_flush(k);
    if (k->closing || k->active != ACTIVE_READ || connection_queued(k) > 0 || account_is_full(k, QUEUE_OUT) ||
        (s->follow && s->left > 0 && s->next > k->control->chosen))
        return; /* what is written, read or chosen next wakes it */
    answer_page(k);
}

static const char *read_parameters(struct connection *k, const struct varlink_call *call, struct read_stream *ret)
{
    const cJSON *p = call->parameters;
    int64_t from = -1, count = INT64_MAX, tail = -1;
    if (!varlink_get_int(p, "from", 0, INT64_MAX, &from))
        return "from";
    if (!varlink_get_int(p, "count", 0, INT64_MAX, &count))
        return "count";
    if (!varlink_get_int(p, "tail", 0, INT64_MAX, &tail) || (tail >= 0 && from >= 0))
        return "tail";
    if (!varlink_get_bool(p, "follow", &ret->follow))
        return "follow";

    slot_t chosen = control_view(k->control)->replica.chosen;
    ret->left = (uint64_t)count;
    ret->tail.n = tail > 0 ? (uint64_t)tail : 0;
    if (from >= 0)
        ret->next = (slot_t)from;
    else if (tail == 0)
        ret->next = chosen + 1;
    else if (tail > 0)
        ret->seeks = true;
    else
        ret->next = driver_first_kept(k->control->driver);
    return NULL;
}

void method_read(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"from", "count", "tail", "follow", NULL};
    struct read_stream s = {.once = !call->more};
    if (!parameters_known(k, call, known))
        return;
    const char *wrong = read_parameters(k, call, &s);
    if (wrong != NULL) {
        reply_invalid(k, wrong);
        return;
    }
    if (s.follow && !call->more) {
        reply_empty_error(k, INTERFACE_SERVICE ".ExpectedMore");
        return;
    }
    k->stream = s;
    k->active = ACTIVE_READ;
    if (s.once) {
        answer_page(k);
        return;
    }
    if (s.follow) {
        TAILQ_INSERT_TAIL(&k->control->followers, k, followers);
        k->is_follower = true;
    }
    connection_wake(k);
}
