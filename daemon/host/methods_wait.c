/* Position and Flush: calls that the driver answers later. */
#include "host/methods.h"

static bool is_started(const struct driver_status *s)
{
    return s->replica.identity != IDENTITY_EMPTY && s->replica.identity != IDENTITY_STARTING;
}

static void reply_position(struct connection *k, slot_t slot)
{
    varlink_write_uint(reply_begin(k), "slot", slot);
    reply_end(k, false);
}

static void position_answered(void *user, slot_t slot)
{
    struct connection *k = user;
    k->active = ACTIVE_NONE;
    account_end_question(k, QUESTION_POSITION);
    reply_position(k, slot);
}

void method_position(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"linearizable", "timeout_ms", NULL};
    struct control *c = k->control;
    bool linearizable = false;
    int64_t timeout_ms;
    if (!parameters_known(k, call, known))
        return;
    if (!varlink_get_bool(call->parameters, "linearizable", &linearizable)) {
        reply_invalid(k, "linearizable");
        return;
    }
    if (!parameter_timeout(k, call, &timeout_ms))
        return;
    const struct driver_status *s = control_view(c);
    if (!linearizable) {
        reply_position(k, s->replica.chosen);
        return;
    }
    if (!is_started(s)) {
        reply_not_initialized(k);
        return;
    }
    if (!account_begin_question(k, QUESTION_POSITION)) {
        reply_overloaded(k);
        return;
    }
    k->active = ACTIVE_POSITION;
    k->deadline_ms = uv_now(c->loop) + (uint64_t)timeout_ms;
    k->cookie = driver_position(c->driver, position_answered, k);
    if (k->cookie == 0 && k->active == ACTIVE_POSITION) {
        k->active = ACTIVE_NONE;
        account_end_question(k, QUESTION_POSITION);
        reply_overloaded(k);
        return;
    }
    if (k->active == ACTIVE_POSITION)
        connection_arm(k, k->deadline_ms);
}

/* Nothing was changed by a question, so where no majority is heard that is the answer. */
void method_expire(struct connection *k)
{
    method_cancel(k);
    if (!control_view(k->control)->replica.quorum)
        reply_no_quorum(k);
    else
        reply_empty_error(k, INTERFACE_REPLICA ".Timeout");
}

static void write_result(struct varlink_writer *w, const struct flush_result *r)
{
    varlink_write_open(w, NULL, '{');
    varlink_write_uint(w, "replica", r->replica);
    if (r->ok) {
        varlink_write_uint(w, "slot", r->slot);
        varlink_write_uint(w, "messages", r->messages);
    }
    varlink_write_string(w, r->ok ? "path" : "error", r->text != NULL ? r->text : "");
    varlink_write_close(w, '}');
}

static void flush_answered(void *user, const struct flush_result *results, size_t n)
{
    struct connection *k = user;
    bool all = k->flush_all;
    k->active = ACTIVE_NONE;
    account_end_question(k, QUESTION_FLUSH);
    if (!all && n == 1 && !results[0].ok) {
        struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".FlushFailed");
        varlink_write_string(w, "path", k->control->log_path != NULL ? k->control->log_path : "");
        varlink_write_string(w, "reason", results[0].text != NULL ? results[0].text : "");
        reply_end(k, false);
        return;
    }
    struct varlink_writer *w = reply_begin(k);
    varlink_write_open(w, "results", '[');
    for (size_t i = 0; i < n; i++)
        write_result(w, &results[i]);
    varlink_write_close(w, ']');
    reply_end(k, false);
}

void method_flush(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"all", "timeout_ms", NULL};
    struct control *c = k->control;
    int64_t timeout_ms;
    k->flush_all = false;
    if (!parameters_known(k, call, known))
        return;
    if (!varlink_get_bool(call->parameters, "all", &k->flush_all)) {
        reply_invalid(k, "all");
        return;
    }
    if (!parameter_timeout(k, call, &timeout_ms))
        return;
    if (!is_started(control_view(c))) {
        reply_not_initialized(k);
        return;
    }
    if (!account_begin_question(k, QUESTION_FLUSH)) {
        reply_overloaded(k);
        return;
    }
    k->active = ACTIVE_FLUSH;
    k->cookie = driver_flush(c->driver, k->flush_all, (uint64_t)timeout_ms, flush_answered, k);
    if (k->cookie == 0 && k->active == ACTIVE_FLUSH) {
        k->active = ACTIVE_NONE;
        account_end_question(k, QUESTION_FLUSH);
        reply_overloaded(k);
    }
}

void method_cancel(struct connection *k)
{
    struct control *c = k->control;
    if (k->active == ACTIVE_POSITION) {
        driver_position_cancel(c->driver, k->cookie);
        account_end_question(k, QUESTION_POSITION);
    }
    if (k->active == ACTIVE_BOOTSTRAP) /* to the driver it is one, too */
        driver_position_cancel(c->driver, k->cookie);
    if (k->active == ACTIVE_FLUSH) {
        driver_flush_cancel(c->driver, k->cookie);
        account_end_question(k, QUESTION_FLUSH);
    }
    if (k->is_follower) {
        TAILQ_REMOVE(&c->followers, k, followers);
        k->is_follower = false;
    }
    k->active = ACTIVE_NONE;
}
