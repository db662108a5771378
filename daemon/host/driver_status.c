/* What the driver tells: to `status`, to its peers once a second, and to people when something turned. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/faults.h"
#include "host/log.h"
#include "host/notice.h"
#include "host/secret.h"

enum { INFO_USEC = 1000000, LOOKUP_TICK_USEC = 1000000 };

int driver_find_member(const struct driver *d, replica_id_t id)
{
    for (size_t i = 0; i < d->n_members; i++) {
        if (d->members[i].address.id == id)
            return (int)i;
    }
    return -1;
}

/* --- peers --- */

void driver_take_info(struct driver *d, size_t member, const struct info *info)
{
    d->members[member].info = *info;
    d->members[member].informed_usec = driver_now();
}

static void send_info(struct driver *d, uint64_t now_usec)
{
    struct fault faults[FAULTS_MAX];
    struct message m = {.type = MESSAGE_INFO};
    size_t n = faults_list(d->options.faults, now_usec, faults);
    snprintf(m.info.version, sizeof(m.info.version), "%s", d->options.version);
    for (size_t i = 0; i < n && i < INFO_DROPS_MAX; i++) {
        uint64_t left_ms = faults[i].until_usec > now_usec ? (faults[i].until_usec - now_usec + 999) / 1000 : 0;
        m.info.drops[m.info.n_drops++] = (struct info_drop){
            .rate = faults[i].rate,
            .direction = (uint8_t)faults[i].direction,
            .peer = faults[i].peer,
            .left_ms = left_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)left_ms,
        };
    }
    driver_send(d, REPLICA_ID_NONE, &m);
}

/* --- lines for people --- */

static const char differs_note[] = "its replica_list (addresses, too) or dedup_slots differs from this file's";

static void tell_leader(const struct replica_status *before, const struct replica_status *now)
{
    if (now->leader == REPLICA_ID_NONE || (now->leader == before->leader && ballot_equal(now->ballot, before->ballot)))
        return;
    notice(NOTICE_LEADER_CHANGED,
           &(struct notice_about){.ballot = &now->ballot, .slot = &now->chosen, .peer = &now->leader},
           "leader is replica %u (ballot %" PRIu64 ".%u) from slot %" PRIu64 " on", now->leader, now->ballot.round,
           now->ballot.id, now->chosen);
}

static void tell_differing(const struct replica_status *before, const struct replica_status *now)
{
    for (uint32_t i = 0; i < now->n_peers; i++) {
        if (now->peers[i].differs && !before->peers[i].differs)
            log_line(LOG_LEVEL_WARNING, "replica %u: %s; nothing starts until they say the same", now->peers[i].id,
                     differs_note);
    }
}

static void tell_quorum(const struct replica_status *before, const struct replica_status *now)
{
    const struct notice_about about = {.ballot = &now->ballot, .slot = &now->chosen};
    if (now->identity != before->identity && now->identity == IDENTITY_VOTER)
        log_line(LOG_LEVEL_NOTICE, "first start is done: this replica votes");
    if (now->quorum && !before->quorum)
        notice(NOTICE_QUORUM_REGAINED, &about, "quorum: %u of %u linked", now->n_linked, now->n_peers + 1);
    if (!now->quorum && before->quorum && now->n_linked >= now->n_needed)
        notice(NOTICE_QUORUM_LOST, &about, "no leader: %u of %u linked; one is being elected", now->n_linked,
               now->n_peers + 1);
    else if (!now->quorum && before->quorum)
        notice(NOTICE_QUORUM_LOST, &about,
               "no quorum: %u of %u linked, %u needed; nothing new is chosen. See: mpaxosctl status", now->n_linked,
               now->n_peers + 1, now->n_needed);
    if (now->diverged && !before->diverged)
        notice(NOTICE_DIVERGED, &about,
               "this replica's log differs from a peer's at an equal slot: it stopped voting. Keep its state "
               "directory, and report this");
}

/* Whoever injected them: the configuration, a reload, a client, or a time that ran out. */
static void tell_faults(struct driver *d)
{
    char now[FAULTS_TEXT_MAX];
    faults_describe(d->options.faults, driver_now(), now);
    if (strcmp(now, d->faults) == 0)
        return;
    if (now[0] != 0)
        notice(NOTICE_FAULTS_INJECTED, NULL, "injected faults: drops %s", now);
    else
        notice(NOTICE_FAULTS_LIFTED, NULL, "injected faults: none any more");
    memcpy(d->faults, now, sizeof(now));
}

static void tell_changes(struct driver *d)
{
    struct replica_status now;
    replica_status(d->replica, &now);
    tell_leader(&d->status, &now);
    tell_quorum(&d->status, &now);
    tell_differing(&d->status, &now);
    tell_faults(d);
    d->status = now;
}

/* --- every TICK_MS --- */

void driver_on_tick(struct driver *d)
{
    uint64_t now_usec = driver_now();
    d->dirty = true;
    if (d->closing)
        return;
    tell_changes(d);
    driver_tell_dropped(d, now_usec);
    driver_trim_tick(d, now_usec);
    driver_rot_tick(d, now_usec);
    if (now_usec >= d->info_usec) {
        d->info_usec = now_usec + INFO_USEC;
        send_info(d, now_usec);
    }
    if (now_usec >= d->lookup_usec) {
        d->lookup_usec = now_usec + LOOKUP_TICK_USEC;
        peers_tick(d->peers, now_usec);
    }
}

/* --- status --- */

/* As they are by now: what a peer says last may be old. */
static void fill_peer_drops(const struct driver_member *m, uint64_t now_usec, struct driver_peer *ret)
{
    uint64_t age_ms = (now_usec - m->informed_usec) / 1000;
    for (uint32_t i = 0; i < m->info.n_drops; i++) {
        struct info_drop drop = m->info.drops[i];
        if (drop.left_ms != 0 && drop.left_ms <= age_ms)
            continue;
        drop.left_ms -= drop.left_ms != 0 ? (uint32_t)age_ms : 0;
        ret->drops[ret->n_drops++] = drop;
    }
}

static void fill_peer(struct driver *d, size_t member, bool differs, uint64_t now_usec, struct driver_peer *ret)
{
    const struct driver_member *m = &d->members[member];
    struct config_replica r = {.port = m->address.port};
    memcpy(r.host, m->address.host, sizeof(r.host));
    config_address(&r, ret->address, sizeof(ret->address));
    if (m->informed_usec != 0) {
        snprintf(ret->version, sizeof(ret->version), "%s", m->info.version);
        fill_peer_drops(m, now_usec, ret);
    }
    ret->refused = m->refused_usec != 0 && now_usec - m->refused_usec < PEER_NOTE_USEC;
    ret->refusal = m->refusal;
    driver_fill_drops(&m->drops, now_usec, &ret->dropped);
    if (d->seal != NULL)
        seal_peer_status(d->seal, member, &ret->seal);
    bool ahead = m->ahead_usec != 0 && replica_identity(d->replica)->status == IDENTITY_EMPTY;
    snprintf(ret->note, sizeof(ret->note), "%s",
             (ret->refused || ahead) && m->note[0] != 0 ? m->note
             : differs                                  ? differs_note
                                                        : peers_note(d->peers, member));
}

void driver_status(struct driver *d, struct driver_status *ret)
{
    const struct peers_counters *c = peers_counters(d->peers);
    uint64_t now_usec = driver_now();
    memset(ret, 0, sizeof(*ret));
    replica_status(d->replica, &ret->replica);
    journal_stats(d->journal, &ret->journal);
    ret->config = d->config;
    ret->config_warning = d->config_warning;
    ret->is_config_overruled = d->is_config_overruled;
    ret->kept_restart = d->kept_restart;
    ret->kept_stop = d->kept_stop;
    ret->flushed = flushes_flushed(d->flushes);
    ret->first_kept = logread_first_kept(d->logread);
    ret->flush_trouble = flushes_trouble(d->flushes);
    ret->flush_awaited = driver_install_obsoletes(d);
    ret->gap = flushes_gap(d->flushes);
    ret->installing = driver_install_is_active(d);
    ret->n_rot = journal_rot(d->journal, ret->rot);
    struct journal_checkpoint newest;
    if (journal_checkpoint_newest(d->journal, &newest)) {
        ret->checkpoint = newest.slot;
        ret->checkpoint_age_usec = now_usec - d->checkpoint.done_usec;
    }
    ret->checkpoint_trouble = d->checkpoint.trouble;
    ret->noops = logread_noops(d->logread);
    ret->messages = logread_messages(d->logread);
    ret->has_space = !d->disk_full;
    ret->busy_since_usec = d->thread != NULL ? journal_thread_busy_since_usec(d->thread) : 0;
    for (uint32_t i = 0; i < ret->replica.n_peers; i++) {
        int member = driver_find_member(d, ret->replica.peers[i].id);
        if (member >= 0)
            fill_peer(d, (size_t)member, ret->replica.peers[i].differs, now_usec, &ret->peers[i]);
    }
    ret->datagrams_sent = c->sent;
    ret->datagrams_received = c->received;
    ret->bytes_sent = c->bytes_sent;
    ret->bytes_received = c->bytes_received;
    memcpy(ret->datagrams_dropped, d->dropped, sizeof(d->dropped));
    ret->datagrams_dropped[DROP_INJECTED] += c->dropped_injected;
    ret->datagrams_unsealed = d->outbox.unsealed;
    ret->datagrams_overrun = peers_overrun(d->peers);
    driver_fill_drops(&d->strangers, now_usec, &ret->strangers);
    driver_fill_stranger(d, ret->stranger);
    assembly_stats(d->assembly, &ret->assembly);
    if (d->seal != NULL)
        seal_status(d->seal, &ret->seal);
    ret->unlocked_error = secret_lock_error();
    ret->send_errors = c->send_errors + c->receive_errors + d->outbox.lost;
}
