/* Status: one replica's view of itself and of its peers. */
#include <unistd.h>

#include "host/faults.h"
#include "host/methods.h"

/* --- peers --- */

static const char *peer_role(const struct driver_status *s, uint32_t i)
{
    const struct peer_status *p = &s->replica.peers[i];
    if (s->peers[i].refused)
        return "refused";
    if (status_is_starting(s) && p->heard_usec != 0 && uv_hrtime() / 1000 - p->heard_usec < JUST_HEARD_USEC)
        return "learner";
    if (!p->linked)
        return "unreachable";
    return p->silent ? "learner" : p->id == s->replica.leader ? "leader" : "follower";
}

static void write_peer_drops(struct varlink_writer *w, const struct driver_peer *d)
{
    static const char *const directions[] = {"out", "in", "out", "both"};
    varlink_write_open(w, "drops", '[');
    for (uint32_t i = 0; i < d->n_drops; i++) {
        varlink_write_open(w, NULL, '{');
        varlink_write_uint(w, "rate", d->drops[i].rate);
        varlink_write_string(w, "direction", directions[d->drops[i].direction & FAULT_BOTH]);
        if (d->drops[i].peer != REPLICA_ID_NONE)
            varlink_write_uint(w, "peer", d->drops[i].peer);
        if (d->drops[i].left_ms != 0)
            varlink_write_uint(w, "until_usec", epoch_usec(uv_hrtime() / 1000 + d->drops[i].left_ms * UINT64_C(1000)));
        varlink_write_close(w, '}');
    }
    varlink_write_close(w, ']');
}

static void write_keys(struct varlink_writer *w, const struct seal_peer_status *seal)
{
    if (seal->n_keys == 0)
        return;
    varlink_write_open(w, "keys", '[');
    for (uint32_t i = 0; i < seal->n_keys; i++)
        varlink_write_string(w, NULL, seal->keys[i]);
    varlink_write_close(w, ']');
}

static void write_peer(struct varlink_writer *w, const struct driver_status *s, uint32_t i)
{
    const struct peer_status *p = &s->replica.peers[i];
    const struct driver_peer *d = &s->peers[i];
    varlink_write_open(w, NULL, '{');
    varlink_write_uint(w, "id", p->id);
    varlink_write_string(w, "address", d->address);
    varlink_write_string(w, "role", peer_role(s, i));
    if (p->heard_usec != 0) {
        varlink_write_uint(w, "chosen", p->chosen);
        if (p->rtt_usec != 0)
            varlink_write_uint(w, "rtt_usec", p->rtt_usec);
        varlink_write_uint(w, "heard_usec", epoch_usec(p->heard_usec));
    }
    if (d->version[0] != 0)
        varlink_write_string(w, "version", d->version);
    write_peer_drops(w, d);
    if (d->note[0] != 0)
        varlink_write_string(w, "note", d->note);
    write_keys(w, &d->seal);
    varlink_write_close(w, '}');
}

static void write_self(struct varlink_writer *w, struct control *c)
{
    const struct driver_status *s = &c->view;
    const struct config_replica *file = config_find(s->config, c->id);
    char address[CONFIG_HOST_MAX + 16] = "";
    if (file != NULL)
        config_address(file, address, sizeof(address));
    varlink_write_open(w, NULL, '{');
    varlink_write_uint(w, "id", c->id);
    varlink_write_string(w, "address", address);
    varlink_write_string(w, "role", "self");
    varlink_write_uint(w, "chosen", s->replica.chosen);
    varlink_write_string(w, "version", c->version != NULL ? c->version : "");
    write_drops(w, "drops", c);
    varlink_write_close(w, '}');
}

static void write_peers(struct varlink_writer *w, struct control *c)
{
    const struct replica_status *r = &c->view.replica;
    uint32_t i = 0;
    varlink_write_open(w, "peers", '[');
    for (; i < r->n_peers && r->peers[i].id < c->id; i++)
        write_peer(w, &c->view, i);
    write_self(w, c);
    for (; i < r->n_peers; i++)
        write_peer(w, &c->view, i);
    varlink_write_close(w, ']');
}

/* --- the replica itself --- */

static void write_role(struct varlink_writer *w, const struct replica_status *r)
{
    static const char *const roles[] = {[ROLE_LEADER] = "leader",
                                        [ROLE_FOLLOWER] = "follower",
                                        [ROLE_CANDIDATE] = "candidate",
                                        [ROLE_LEARNER] = "learner"};
    varlink_write_string(w, "role", roles[r->role]);
    if (r->leader != REPLICA_ID_NONE) {
        varlink_write_uint(w, "leader", r->leader);
        if (r->leader_since_usec != 0)
            varlink_write_uint(w, "leader_since_usec", epoch_usec(r->leader_since_usec));
    }
    varlink_write_open(w, "ballot", '{');
    varlink_write_uint(w, "round", r->ballot.round);
    varlink_write_uint(w, "replica", r->ballot.id);
    varlink_write_close(w, '}');
    varlink_write_bool(w, "quorum", r->quorum);
    varlink_write_uint(w, "quorum_size", r->n_needed);
}

void method_status(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {NULL};
    struct control *c = k->control;
    if (!parameters_known(k, call, known))
        return;
    const struct driver_status *s = control_view(c);
    const struct replica_status *r = &s->replica;
    struct varlink_writer *w = reply_begin(k);
    varlink_write_string(w, "cluster", s->config->cluster);
    varlink_write_uint(w, "id", c->id);
    varlink_write_string(w, "version", c->version != NULL ? c->version : "");
    varlink_write_int(w, "pid", getpid());
    varlink_write_uint(w, "started_usec", c->started_usec);
    write_role(w, r);
    varlink_write_uint(w, "chosen", r->chosen);
    varlink_write_uint(w, "accepted", r->accepted);
    varlink_write_uint(w, "first_kept", s->first_kept);
    varlink_write_uint(w, "flushed", s->flushed);
    varlink_write_uint(w, "noops", s->noops);
    write_peers(w, c);
    write_drops(w, "drops", c);
    varlink_write_open(w, "skip_slots", '[');
    for (uint32_t i = 0; i < r->n_skips; i++)
        varlink_write_uint(w, NULL, r->skips[i]);
    varlink_write_close(w, ']');
    varlink_write_uint(w, "journal_bytes", s->journal.bytes);
    varlink_write_uint(w, "disk_free_bytes", s->journal.free_bytes);
    if (s->journal.sync_p99_usec != 0)
        varlink_write_uint(w, "sync_p99_usec", s->journal.sync_p99_usec);
    if (r->quorum_since_usec != 0)
        varlink_write_uint(w, "quorum_since_usec", epoch_usec(r->quorum_since_usec));
    write_advice(w, c, s);
    write_keys(w, &s->seal);
    reply_end(k, false);
}
