/* Submit: many of one connection in flight together, answered in their order. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "host/control_connection.h"
#include "host/log.h"
#include "host/methods.h"

enum { RING_MIN = 8, DRAWN_KEY_BYTES = 12 };

struct submit_fault {
    const char *parameter; /* that is invalid                       */
    size_t size;           /* of a text that is too large; 0: is not */
};

struct submit_arguments {
    const char *text, *author, *key;
    size_t text_size;
    int64_t since, timeout_ms;
};

static bool read_arguments(const struct connection *k, struct submit_arguments *ret, struct submit_fault *ret_fault)
{
    static const char *const known[] = {"text", "author", "key", "since", "timeout_ms", NULL};
    const cJSON *p = k->call.parameters;
    struct submit_arguments a = {.since = -1, .timeout_ms = CONTROL_TIMEOUT_MS_DEFAULT};
    *ret_fault = (struct submit_fault){.parameter = varlink_unknown_key(p, known)};
    if (ret_fault->parameter != NULL)
        return false;
    if (!varlink_get_string(p, "text", &a.text) || a.text == NULL || a.text[0] == 0)
        ret_fault->parameter = "text";
    else if (!varlink_get_string(p, "author", &a.author) || (a.author != NULL && !name_is_valid(a.author)))
        ret_fault->parameter = "author";
    else if (!varlink_get_string(p, "key", &a.key) || (a.key != NULL && !name_is_valid(a.key)))
        ret_fault->parameter = "key";
    else if (!varlink_get_int(p, "since", 0, INT64_MAX, &a.since))
        ret_fault->parameter = "since";
    else if (!varlink_get_int(p, "timeout_ms", 1, CONTROL_TIMEOUT_MS_MAX, &a.timeout_ms))
        ret_fault->parameter = "timeout_ms";
    if (ret_fault->parameter != NULL)
        return false;
    a.text_size = strlen(a.text);
    if (a.text_size > k->control->message_bytes_max) {
        ret_fault->size = a.text_size;
        return false;
    }
    *ret = a;
    return true;
}

/* --- the ring --- */

static struct submit_call *at(const struct connection *k, uint64_t number)
{
    return &k->submits[number & (k->submits_capacity - 1)];
}

static bool make_room(struct connection *k)
{
    uint64_t n = k->submits_end - k->submits_first;
    if (n < k->submits_capacity)
        return true;
    if (n >= CONTROL_CALLS_MAX) {
        k->control->stats.calls_held++;
        return false;
    }
    uint32_t capacity = k->submits_capacity > 0 ? 2 * k->submits_capacity : RING_MIN;
    struct submit_call *ring = malloc(capacity * sizeof(*ring));
    if (ring == NULL)
        return false;
    for (uint64_t i = k->submits_first; i != k->submits_end; i++)
        ring[i & (capacity - 1)] = *at(k, i);
    free(k->submits);
    k->submits = ring;
    k->submits_capacity = capacity;
    return true;
}

static void reply_stored(struct connection *k, const struct submit_call *s)
{
    struct varlink_writer *w = reply_begin(k);
    varlink_write_uint(w, "slot", s->slot);
    varlink_write_text(w, "key", s->key, s->key_size);
    varlink_write_bool(w, "duplicate", s->result == SUBMIT_DUPLICATE);
    reply_end(k, false);
}

static void reply_conflict(struct connection *k, const struct submit_call *s)
{
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".KeyConflict");
    varlink_write_text(w, "key", s->key, s->key_size);
    varlink_write_uint(w, "slot", s->slot);
    reply_end(k, false);
}

static void reply_expired(struct connection *k, const struct submit_call *s)
{
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".KeyExpired");
    varlink_write_uint(w, "since", s->since);
    varlink_write_uint(w, "oldest", s->slot);
    reply_end(k, false);
}

static void reply_timeout(struct connection *k, const struct submit_call *s)
{
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".Timeout");
    varlink_write_text(w, "key", s->key, s->key_size);
    varlink_write_uint(w, "since", s->since);
    reply_end(k, false);
}

static void answer(struct connection *k, const struct submit_call *s)
{
    k->oneway = s->oneway;
    if (s->state == OUTCOME_TIMED_OUT) {
        reply_timeout(k, s);
        return;
    }
    switch (s->result) {
    case SUBMIT_CHOSEN:
    case SUBMIT_DUPLICATE:
        reply_stored(k, s);
        break;
    case SUBMIT_CONFLICT:
        reply_conflict(k, s);
        break;
    case SUBMIT_EXPIRED:
        reply_expired(k, s);
        break;
    case SUBMIT_OVERLOADED:
        reply_overloaded(k);
        break;
    case SUBMIT_NO_QUORUM:
        reply_no_quorum(k);
        break;
    case SUBMIT_NOT_STARTED:
        reply_not_initialized(k);
        break;
    case SUBMIT_NO_SPACE:
        reply_disk_full(k);
        break;
    case SUBMIT_UNKNOWN:
        reply_timeout(k, s);
        break;
    }
}

static void forget(struct connection *k, const struct submit_call *s)
{
    k->account->n_submits--;
    k->account->submit_bytes -= s->text_size;
}

/* Answers those that have their turn, and forgets those that the driver has settled: one that was answered by Timeout
 * is the user's until then. What waits behind them is begun in the next turn: this may run inside a step. */
static void answer_settled(struct connection *k)
{
    while (k->submits_next != k->submits_end && at(k, k->submits_next)->state != OUTCOME_OPEN) {
        answer(k, at(k, k->submits_next++));
        connection_wake(k);
    }
    while (k->submits_first != k->submits_next && at(k, k->submits_first)->state == OUTCOME_SETTLED)
        forget(k, at(k, k->submits_first++));
    if (k->gone) /* then it may be over, whatever stands before it */
        connection_wake(k);
}

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    struct connection *k = user;
    struct submit_call *s = at(k, tag);
    /* Where it timed out, and that answer still waits for its turn, this one is better. */
    s->state = OUTCOME_SETTLED;
    s->result = result;
    s->slot = slot;
    answer_settled(k);
}

static void draw_key(struct control *c, struct submit_call *s)
{
    if (c->n_random < DRAWN_KEY_BYTES) {
        randombytes_buf(c->random, sizeof(c->random));
        c->n_random = sizeof(c->random);
    }
    c->n_random -= DRAWN_KEY_BYTES;
    for (size_t i = 0; i < DRAWN_KEY_BYTES; i++) {
        s->key[2 * i] = "0123456789abcdef"[c->random[c->n_random + i] >> 4];
        s->key[2 * i + 1] = "0123456789abcdef"[c->random[c->n_random + i] & 15];
    }
    s->key_size = 2 * DRAWN_KEY_BYTES;
}

/* Under another name the message would be another's, and its key, too: so without it none is taken. */
static bool has_name(struct connection *k)
{
    int r = k->account->name[0] == 0 ? user_name(k->uid, k->account->name) : 0;
    if (r < 0)
        log_limited(LOG_KIND_CONTROL, LOG_LEVEL_WARNING,
                    "control socket: cannot look up the name of user %u: %s; until that works their messages are put "
                    "off: see nsswitch.conf(5)",
                    (unsigned)k->uid, strerror(-r));
    return r == 0;
}

static bool begin(struct connection *k, const struct submit_arguments *a, bool oneway)
{
    if (!make_room(k) || !account_may_submit(k, a->text_size) || !has_name(k))
        return false;
    if (k->session == NULL)
        k->session = driver_session_open(k->control->driver, settled, k);
    if (k->session == NULL)
        return false;
    char author[AUTHOR_BYTES_MAX + 1];

    uint64_t tag = k->submits_end++;
    k->account->n_submits++;
    k->account->submit_bytes += a->text_size;
    struct submit_call *s = at(k, tag);
    *s = (struct submit_call){
        .oneway = oneway,
        .text_size = (uint32_t)a->text_size,
        .since = a->since >= 0 ? (slot_t)a->since : k->control->chosen,
        .deadline_ms = uv_now(k->control->loop) + (uint64_t)a->timeout_ms,
    };
    if (a->key != NULL) {
        s->key_size = (uint8_t)strlen(a->key);
        memcpy(s->key, a->key, s->key_size);
    } else {
        draw_key(k->control, s);
    }
    struct submit_request q = {
        .author = author,
        .author_size = author_name(k->account->name, k->level, a->author, author),
        .key = s->key,
        .key_size = s->key_size,
        .text = a->text,
        .text_size = a->text_size,
        .has_since = a->since >= 0,
        .since = a->since >= 0 ? (slot_t)a->since : 0,
        .tag = tag,
    };
    connection_arm(k, s->deadline_ms);
    slot_t since = driver_submit(k->session, &q);
    if (tag >= k->submits_next && at(k, tag)->state == OUTCOME_OPEN)
        at(k, tag)->since = since;
    return true;
}

bool submit_begin(struct connection *k)
{
    struct submit_arguments a;
    struct submit_fault fault;
    return read_arguments(k, &a, &fault) && begin(k, &a, k->call.oneway);
}

static bool take_name(const struct varlink_string *s, char buffer[NAME_BYTES_MAX + 1], const char **ret)
{
    if (s->bytes == NULL)
        return true;
    if (s->size > NAME_BYTES_MAX)
        return false;
    memcpy(buffer, s->bytes, s->size);
    buffer[s->size] = 0;
    *ret = buffer;
    return name_is_valid(buffer);
}

bool submit_begin_plain(struct connection *k, const struct varlink_submit *call)
{
    char author[NAME_BYTES_MAX + 1], key[NAME_BYTES_MAX + 1];
    struct submit_arguments a = {
        .text = call->text.bytes,
        .text_size = call->text.size,
        .since = call->since,
        .timeout_ms = call->timeout_ms >= 0 ? call->timeout_ms : CONTROL_TIMEOUT_MS_DEFAULT,
    };
    return a.text_size > 0 && a.text_size <= k->control->message_bytes_max && a.timeout_ms > 0 &&
           a.timeout_ms <= CONTROL_TIMEOUT_MS_MAX && take_name(&call->author, author, &a.author) &&
           take_name(&call->key, key, &a.key) && begin(k, &a, false);
}

/* Runs alone: a Submit that cannot begin, for a reason that its parameters or memory give. */
void method_submit(struct connection *k, const struct varlink_call *call)
{
    struct submit_arguments a;
    struct submit_fault fault;
    (void)call;
    if (read_arguments(k, &a, &fault)) {
        reply_overloaded(k);
        return;
    }
    if (fault.parameter != NULL) {
        reply_invalid(k, fault.parameter);
        return;
    }
    k->control->stats.texts_too_large++;
    struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".MessageTooLarge");
    varlink_write_uint(w, "size", fault.size);
    varlink_write_uint(w, "limit", k->control->message_bytes_max);
    reply_end(k, false);
}

uint64_t submit_expire(struct connection *k, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    for (uint64_t i = k->submits_next; i != k->submits_end; i++) {
        struct submit_call *s = at(k, i);
        if (s->state != OUTCOME_OPEN)
            continue;
        if (s->deadline_ms <= now_ms)
            s->state = OUTCOME_TIMED_OUT;
        else if (s->deadline_ms < next)
            next = s->deadline_ms;
    }
    answer_settled(k);
    return next;
}

bool submit_has_oneway(const struct connection *k)
{
    uint64_t i = k->submits_next;
    while (i != k->submits_end && !(at(k, i)->oneway && at(k, i)->state == OUTCOME_OPEN))
        i++;
    return i != k->submits_end;
}

void submit_done(struct connection *k)
{
    if (k->session != NULL)
        driver_session_close(k->session);
    k->session = NULL;
    while (k->submits_first != k->submits_end)
        forget(k, at(k, k->submits_first++));
    free(k->submits);
    k->submits = NULL;
    k->submits_capacity = 0;
}
