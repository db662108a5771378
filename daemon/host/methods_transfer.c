/* TransferLeadership: asks for it, again and again, until another replica leads. */
#include "host/log.h"
#include "host/methods.h"

enum { LOOK_MS = 20 };

static bool is_done(const struct connection *k, const struct replica_status *s)
{
    if (s->leader == REPLICA_ID_NONE || !s->quorum)
        return false;
    return k->target == REPLICA_ID_NONE ? s->leader != k->led : s->leader == k->target;
}

void transfer_look(struct connection *k)
{
    uint64_t now = uv_now(k->control->loop);
    const struct replica_status *s = &control_view(k->control)->replica;
    if (is_done(k, s)) {
        replica_id_t leader = s->leader;
        method_cancel(k);
        varlink_write_uint(reply_begin(k), "leader", leader);
        reply_end(k, false);
    } else if (k->deadline_ms <= now) {
        method_expire(k);
    } else {
        driver_transfer(k->control->driver, k->target);
        connection_arm(k, now + LOOK_MS < k->deadline_ms ? now + LOOK_MS : k->deadline_ms);
    }
}

void method_transfer(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {"replica", "timeout_ms", NULL};
    int64_t target = REPLICA_ID_NONE, timeout_ms;
    const struct driver_status *view = control_view(k->control);
    bool member = false;
    if (!parameters_known(k, call, known) || !parameter_timeout(k, call, &timeout_ms))
        return;
    if (view->replica.identity != IDENTITY_VOTER) {
        reply_not_initialized(k);
        return;
    }
    bool ok = varlink_get_int(call->parameters, "replica", 0, REPLICA_ID_MAX, &target);
    for (uint32_t i = 0; i < view->replica.n_peers; i++)
        member = member || view->replica.peers[i].id == target;
    if (!ok || !(member || target == REPLICA_ID_NONE || target == k->control->id)) {
        reply_invalid(k, "replica");
        return;
    }
    if (view->replica.leader == REPLICA_ID_NONE) {
        reply_no_quorum(k);
        return;
    }
    log_line(LOG_LEVEL_NOTICE, "transfer: user %u asks replica %u to hand leadership over", (unsigned)k->uid,
             view->replica.leader);
    k->active = ACTIVE_TRANSFER;
    k->target = (replica_id_t)target;
    k->led = view->replica.leader;
    k->deadline_ms = uv_now(k->control->loop) + (uint64_t)timeout_ms;
    transfer_look(k);
}
