/* Reads, positions and flushes: checked against the log as they come. */
#include <errno.h>
#include <string.h>

#include "host/driver_internal.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

void client_check_message(struct host *h, const struct log_message *m, const char *what)
{
    struct cluster *c = h->cluster;
    const struct log_slot *s = observer_slot(c, m->slot);
    struct text_view v;
    if (c->options.liar)
        return;
    if (!s || !s->applied || !s->visible || m->slot > h->applied)
        cluster_fail(c, "host %u: %s shows slot %lu, where no message is applied (trap 17)", h->index, what, m->slot);
    text_view(s->chosen->bytes, &v);
    if (v.text_size != m->text_size || memcmp(v.text, m->text, v.text_size) != 0 || v.author_size != m->author_size ||
        memcmp(v.author, m->author, v.author_size) != 0 || s->time_usec != m->time_usec)
        cluster_fail(c, "host %u: %s shows another message at slot %lu (trap 39)", h->index, what, m->slot);
}

/* --- reading --- */

struct reading {
    struct host *host;
    const char *what;
    slot_t next; /* nothing visible between it and the next message */
};

static void check_gap(struct reading *r, slot_t until)
{
    for (; r->next < until; r->next++) {
        const struct log_slot *s = observer_slot(r->host->cluster, r->next);
        if (s && s->visible)
            cluster_fail(r->host->cluster, "host %u: %s leaves out slot %lu", r->host->index, r->what, r->next);
    }
}

static bool read_message(void *user, const struct log_message *m)
{
    struct reading *r = user;
    if (m->slot < r->next)
        cluster_fail(r->host->cluster, "host %u: %s goes back to slot %lu", r->host->index, r->what, m->slot);
    check_gap(r, m->slot);
    client_check_message(r->host, m, r->what);
    r->next = m->slot + 1;
    return true;
}

/* What is gone, the log allowed to go, or it was skipped by a peer's checkpoint. After a restart a replica may not know
 * yet that it did. */
static void check_kept(const struct host *h, slot_t kept)
{
    slot_t allowed = observer_trimmed(h->cluster);
    if (h->disk.fetched + 1 > allowed)
        allowed = h->disk.fetched + 1;
    if (h->disk.lost_until + 1 > allowed)
        allowed = h->disk.lost_until + 1;
    if (kept > 1 && kept > allowed)
        cluster_fail(h->cluster, "host %u: keeps slots from %lu on, from %lu on they may not go", h->index, kept,
                     allowed);
}

/* Where the last `n` messages begin, or all that are kept. */
static slot_t find_tail(struct host *h, uint64_t n)
{
    struct tail_search t = {.n = n};
    slot_t from = 0;
    uint64_t visible = 0;
    while (!driver_tail(h->driver, &t, &from))
        ;
    for (slot_t slot = from; slot <= h->applied; slot++) {
        const struct log_slot *s = observer_slot(h->cluster, slot);
        visible += s && s->visible;
    }
    if (h->disk.n_rot == 0 && !h->disk.failing && ((visible < n && from > driver_first_kept(h->driver)) || visible > n))
        cluster_fail(h->cluster, "host %u: the last %lu messages begin at slot %lu, but %lu follow", h->index, n, from,
                     visible);
    return from;
}

void clients_read(struct cluster *c, uint32_t host)
{
    struct clients *k = clients_get(c);
    struct host *h = &c->hosts[host];
    world_enter(h);
    slot_t kept = driver_first_kept(h->driver);
    check_kept(h, kept);
    slot_t from =
        cluster_chance(c, 300) ? find_tail(h, cluster_random(c, 0, 50)) : cluster_random(c, 0, h->applied + 1);
    slot_t next = from;
    struct reading r = {.host = h, .what = "a read", .next = from};
    size_t n_max = cluster_random(c, 1, 300), bytes_max = cluster_random(c, 1, 20000);
    int n = driver_read(h->driver, from, n_max, bytes_max, read_message, &r, &next);
    k->n_reads++;
    if (n == -ERANGE && from < kept) {
        c->happened[HAPPENED_READ_TRIMMED]++;
        return;
    }
    if (from < kept && from > 0)
        cluster_fail(c, "host %u: reads slot %lu, kept are those from %lu on", host, from, kept);
    if (n < 0) {
        if (h->disk.n_rot == 0 && !h->disk.failing)
            cluster_fail(c, "host %u: reading from slot %lu: error %d", host, from, n);
        return;
    }
    if (next > h->applied + 1 && next > from)
        cluster_fail(c, "host %u: a read goes on at slot %lu, applied are %lu", host, next, h->applied);
    if (h->has_applied && from <= h->applied && next <= from && h->disk.n_rot == 0 && !h->disk.failing)
        cluster_fail(c, "host %u: a read of slot %lu comes no further, applied are %lu", host, from, h->applied);
    check_gap(&r, next);
}

/* --- flushes --- */

static struct call *begin_call(struct cluster *c, enum call_type type, uint32_t host)
{
    struct clients *k = clients_get(c);
    struct call *call = client_calloc(sizeof(*call));
    *(struct call **)list_add(&k->calls) = call;
    *call = (struct call){.cluster = c,
                          .type = type,
                          .live = true,
                          .host = host,
                          .acked_before = k->acked_max,
                          .position_before = k->position_max,
                          .asked_usec = c->now_usec};
    k->n_live++;
    return call;
}

static void end_call(struct call *call)
{
    call->live = false;
    call->cluster->clients->n_live--;
}

static void flushed(void *user, const struct flush_result *results, size_t n)
{
    struct call *call = user;
    struct cluster *c = call->cluster;
    if (!call->live)
        cluster_fail(c, "host %u answers a flush twice", call->host);
    for (size_t i = 0; i < n; i++) {
        const struct host *h = cluster_host_by_id(c, results[i].replica);
        cluster_trace(c, (int)call->host, "flushed    replica %u: %s, slot %lu", results[i].replica,
                      results[i].ok ? "ok" : results[i].text, results[i].slot);
        if (results[i].ok && !h->wiped && h->disk.flushed < results[i].slot)
            cluster_fail(c, "host %u: slot %lu was told to be flushed, %lu are", h->index, results[i].slot,
                         h->disk.flushed);
    }
    c->clients->n_flushes++;
    end_call(call);
}

void clients_flush(struct cluster *c, uint32_t host, bool all)
{
    struct host *h = &c->hosts[host];
    struct call *call = begin_call(c, CALL_FLUSH, host);
    world_enter(h);
    if (driver_flush(h->driver, all, 2000, flushed, call) == 0)
        end_call(call);
    host_poke(h);
}

/* --- positions --- */

static void position_answered(void *user, slot_t slot)
{
    struct call *call = user;
    struct cluster *c = call->cluster;
    const struct host *h = &c->hosts[call->host];
    cluster_trace(c, (int)call->host, "position   %lu", slot);
    if (!call->live)
        cluster_fail(c, "host %u answers a position twice", h->index);
    if (slot < call->acked_before)
        cluster_fail(c, "host %u: position %lu, but slot %lu was acknowledged before it was asked for (traps 18, 28)",
                     h->index, slot, call->acked_before);
    if (slot < call->position_before)
        cluster_fail(c, "host %u: position %lu, but %lu was answered before it was asked for (trap 18)", h->index, slot,
                     call->position_before);
    if (2 * ((uint32_t)__builtin_popcount(observer_confirmed_since(c, call->asked_usec)) + 1) <= c->options.n_hosts)
        cluster_fail(c, "host %u: position %lu, but no majority confirmed a leader since it was asked for (trap 28)",
                     h->index, slot);
    if (slot > observer_chosen(c) || slot > h->applied)
        cluster_fail(c, "host %u: position %lu, applied are %lu, chosen %lu", h->index, slot, h->applied,
                     observer_chosen(c));
    call->answered = true;
    call->slot = slot;
    if (slot > c->clients->position_max)
        c->clients->position_max = slot;
    c->clients->n_positions++;
    end_call(call);
}

uint64_t clients_position(struct cluster *c, uint32_t host)
{
    struct host *h = &c->hosts[host];
    struct call *call = begin_call(c, CALL_POSITION, host);
    uint64_t number = c->clients->calls.n;
    cluster_trace(c, (int)host, "position?  acknowledged %lu", call->acked_before);
    world_enter(h);
    if (driver_position(h->driver, position_answered, call) == 0)
        end_call(call);
    host_poke(h);
    return number;
}

bool clients_position_answer(const struct cluster *c, uint64_t number, slot_t *ret)
{
    const struct call *call = *(struct call **)list_at(&c->clients->calls, number - 1);
    if (call->answered)
        *ret = call->slot;
    return call->answered;
}
