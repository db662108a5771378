#include "host/driver_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "host/log.h"
#include "host/notice.h"
#include "paxos/invariant.h"

uint64_t driver_now(void)
{
    return uv_hrtime() / 1000;
}

uint64_t driver_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t driver_random(void)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) !=
        sizeof(random)) /* it does not fail for so few bytes; the clock is better than 0 */
        random = uv_hrtime() * UINT64_C(0x9e3779b97f4a7c15);
    return random;
}

void driver_draw(void *user, uint8_t *ret, size_t size)
{
    (void)user;
    for (size_t done = 0; done < size;) {
        ssize_t n = getrandom(ret + done, size - done, 0);
        invariant(n > 0 || errno == EINTR, (uint64_t)errno, 0); /* what keys are made of cannot be had otherwise */
        done += n > 0 ? (size_t)n : 0;
    }
}

void driver_send(struct driver *d, replica_id_t to, const struct message *m)
{
    outbox_put(&d->outbox, 0, to, m, driver_now());
    d->dirty = true;
}

/* --- effects --- */

static void note_records(struct driver *d, const struct effects *effects)
{
    for (size_t i = 0; i < effects->n_records; i++) {
        const struct record *record = &effects->records[i];
        driver_checkpoint_count(d, record);
        if (record->type == RECORD_COMMIT) {
            logread_committed(d->logread, record->slot);
        } else if (record->type == RECORD_IDENTITY) {
            outbox_set_cluster(&d->outbox, &record->identity->cluster);
            logread_attach(d->logread, d->journal, &record->identity->cluster);
        }
    }
}

static void position_outcome(struct driver *d, const struct outcome *o)
{
    uint64_t index = (o->cookie & UINT32_MAX) - 1;
    if (index >= POSITIONS_MAX)
        return;
    struct driver_position *p = &d->positions[index];
    if (p->answer == NULL || p->answered || p->generation != ((o->cookie & ~POSITION_COOKIE) >> 32))
        return;
    if (o->type == OUTCOME_POSITION) {
        p->answered = true;
        p->slot = o->slot;
        d->n_positions++;
    } else {
        p->refused = true;
    }
}

/* One too many is as good as lost: the peer asks again. */
static void queue_fetch(struct driver *d, const struct fetch_request *q)
{
    if (d->n_fetches < FETCHES_QUEUED_MAX)
        d->fetches[(d->fetches_first + d->n_fetches++) % FETCHES_QUEUED_MAX] = *q;
}

void driver_carry_out(struct driver *d, const struct effects *effects, uint64_t now_usec)
{
    if (effects->n_records > 0) {
        journal_append(d->journal, effects->records, effects->n_records, effects->records_seq);
        d->appended = true;
        d->records_seq = effects->records_seq;
        note_records(d, effects);
    }
    for (size_t i = 0; i < effects->n_outgoing; i++) {
        const struct outgoing *o = &effects->outgoing[i];
        outbox_put(&d->outbox, o->after, o->to, &o->message, now_usec);
    }
    if (effects->n_applied > 0) {
        logread_add(d->logread, effects->applied, effects->n_applied);
        d->moved = true;
    }
    for (size_t i = 0; i < effects->n_outcomes; i++) {
        const struct outcome *o = &effects->outcomes[i];
        if ((o->cookie & POSITION_COOKIE) != 0)
            position_outcome(d, o);
        else
            submissions_outcome(d->submissions, o, now_usec);
    }
    if (effects->fetch.wanted)
        queue_fetch(d, &effects->fetch);
    if (effects->install_from != REPLICA_ID_NONE)
        driver_install_wanted(d, effects->install_from, now_usec);
    d->wake_usec = effects->wake_usec;
    values_release(effects->released);
    d->dirty = true;
}

void driver_step(struct driver *d, const struct event *e)
{
    struct effects effects;
    invariant(!d->stepping, e->type, 0); /* effects are valid only until the next step */
    d->stepping = true;
    replica_step(d->replica, e, &effects);
    driver_carry_out(d, &effects, e->now_usec);
    d->stepping = false;
    driver_checkpoint_keep_ahead(d);
}

/* --- a turn --- */

static void step_submissions(struct driver *d, uint64_t now_usec)
{
    struct submission batch[SUBMIT_BATCH_MAX];
    const struct hash128 *key = &replica_identity(d->replica)->cluster;
    if (!submissions_retry(d->submissions, now_usec) || (!d->space && !d->disk_full))
        return;
    for (;;) {
        size_t n = submissions_take(d->submissions, key, now_usec, batch, SUBMIT_BATCH_MAX);
        if (n == 0)
            return;
        struct event e = {.type = EVENT_SUBMIT, .now_usec = now_usec, .submissions = batch, .n_submissions = n};
        driver_step(d, &e);
    }
}

/* Where the load outruns the journal's allocation ahead, it has no space for a moment: then nothing is recorded, but
 * clients only wait. What lasts longer is a full disk, and is told. */
static void step_space(struct driver *d, uint64_t now_usec)
{
    bool space = journal_has_space(d->journal);
    if (!space && !d->disk_full && d->no_space_usec != 0 && now_usec - d->no_space_usec >= SPACE_PATIENCE_USEC) {
        d->disk_full = true;
        notice(NOTICE_DISK_FULL, &(struct notice_about){.path = d->options.state_dir},
               "journal: the disk of %s is full: nothing new is taken until there is space; nothing is lost. Free some",
               d->options.state_dir);
    }
    if (space == d->space)
        return;
    d->space = space;
    d->no_space_usec = space ? 0 : now_usec;
    if (d->disk_full)
        notice(NOTICE_DISK_SPACE, &(struct notice_about){.path = d->options.state_dir},
               "journal: there is space again");
    d->disk_full = false;
    struct event e = {.type = EVENT_SPACE, .now_usec = now_usec, .space = space};
    driver_step(d, &e);
}

/* Old slots for a late peer: one request a turn, so that they never starve what is new. */
static void step_fetch(struct driver *d, uint64_t now_usec)
{
    if (d->n_fetches == 0)
        return;
    const struct fetch_request q = d->fetches[d->fetches_first];
    d->fetches_first = (d->fetches_first + 1) % FETCHES_QUEUED_MAX;
    d->n_fetches--;
    int n = logread_fetch(d->logread, q.from, q.until, MESSAGE_ENTRIES_MAX, q.bytes_max, d->entries);
    slot_t first_kept = logread_first_kept(d->logread);
    if (n < 0) {
        if (n != -ERANGE && n != -ENOMEM) { /* as good as trimmed: where none has it, a checkpoint leads past it */
            log_limited(LOG_KIND_JOURNAL_READ, LOG_LEVEL_ERROR,
                        "journal: slot %llu cannot be read: %s; replica %u gets it from another",
                        (unsigned long long)q.from, strerror(-n), q.to);
            driver_checkpoint_cover(d, q.from);
            first_kept = q.from + 1;
        }
        n = 0;
    }
    struct event e = {.type = EVENT_FETCHED,
                      .now_usec = now_usec,
                      .to = q.to,
                      .fetched = d->entries,
                      .n_fetched = (size_t)n,
                      .first_kept = first_kept};
    driver_step(d, &e);
    for (int i = 0; i < n; i++)
        values_unref(d->entries[i].value);
}

static void send_all(struct driver *d, uint64_t now_usec)
{
    outbox_flush(&d->outbox, now_usec); /* first: the others' disks are the longer way */
    if (d->appended) {
        d->appended = false;
        journal_thread_kick(d->thread);
    }
}

static void free_position(struct driver *d, struct driver_position *p)
{
    p->answer = NULL;
    d->positions_free[d->n_positions_free++] = (uint32_t)(p - d->positions);
}

static void tell_positions(struct driver *d)
{
    for (uint32_t i = 0; d->n_positions > 0 && i < POSITIONS_MAX; i++) {
        struct driver_position *p = &d->positions[i];
        if (!p->answered)
            continue;
        void (*answer)(void *user, slot_t slot) = p->answer;
        p->answered = false;
        free_position(d, p);
        d->n_positions--;
        answer(p->user, p->slot);
    }
}

/* The callbacks of the control socket: no effects are being read, so they may submit, ask and close. */
static void tell_all(struct driver *d, uint64_t now_usec)
{
    if (d->bootstrap != NULL && journal_durable_seq(d->journal) >= d->bootstrap_seq) {
        d->bootstrap->answered = true;
        d->bootstrap = NULL;
        d->n_positions++;
    }
    bool told = submissions_settle(d->submissions) || d->n_positions > 0;
    tell_positions(d);
    if (flushes_next_usec(d->flushes) <= now_usec)
        flushes_tick(d->flushes, now_usec);
    if (d->moved) {
        d->moved = false;
        if (d->watcher != NULL)
            d->watcher(d->watcher_user, replica_chosen(d->replica));
    }
    if (told && d->told != NULL)
        d->told(d->watcher_user);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* keeps the loop from waiting; the turn follows */
}

static void set_idle(struct driver *d, bool idling)
{
    if (idling == d->idling)
        return;
    d->idling = idling;
    if (idling)
        uv_idle_start(&d->idle, on_idle);
    else
        uv_idle_stop(&d->idle);
}

static void on_timer(uv_timer_t *timer)
{
    struct driver *d = timer->data;
    d->armed_usec = UINT64_MAX;
    struct event e = {.type = EVENT_TIMER, .now_usec = driver_now()};
    driver_step(d, &e);
}

/* Whole milliseconds, rounded up: early would be harmless, but a timer that fires early again and again is a busy loop.
 */
static void arm_timer(struct driver *d, uint64_t now_usec)
{
    uint64_t wake_usec = d->wake_usec, handshake_usec = outbox_wake_usec(&d->outbox);
    uint64_t install_usec = driver_install_next_usec(d), mend_usec = driver_mend_next_usec(d);
    if (handshake_usec < wake_usec)
        wake_usec = handshake_usec;
    if (install_usec < wake_usec)
        wake_usec = install_usec;
    if (mend_usec < wake_usec)
        wake_usec = mend_usec;
    if (!d->space && wake_usec > now_usec + SPACE_RECHECK_USEC)
        wake_usec = now_usec + SPACE_RECHECK_USEC;
    if (wake_usec == d->armed_usec)
        return;
    d->armed_usec = wake_usec;
    if (wake_usec == UINT64_MAX) {
        uv_timer_stop(&d->timer);
        return;
    }
    uint64_t wait_usec = wake_usec > now_usec ? wake_usec - now_usec : 1;
    uv_timer_start(&d->timer, on_timer, (wait_usec + 999) / 1000, 0);
}

static bool is_handed_over(const struct driver *d, uint64_t now_usec)
{
    struct replica_status status;
    replica_status(d->replica, &status);
    return now_usec >= d->stop_usec || (status.leader != REPLICA_ID_NONE && status.leader != d->options.id);
}

void driver_turn(struct driver *d)
{
    bool more = false;
    for (int round = 0; d->dirty && round < TURN_ROUNDS_MAX; round++) {
        uint64_t now_usec = driver_now();
        d->dirty = false;
        step_space(d, now_usec);
        step_submissions(d, now_usec);
        if (round == 0)
            step_fetch(d, now_usec);
        if (d->wake_usec <= now_usec) {
            struct event e = {.type = EVENT_TIMER, .now_usec = now_usec};
            driver_step(d, &e);
        }
        if (round == 0) {
            if (!d->stopping)
                flushes_work(d->flushes, replica_chosen(d->replica), now_usec);
            more = driver_checkpoint_work(d, now_usec);
            more |= driver_install_work(d, now_usec);
            more |= driver_mend_work(d, now_usec);
        }
        send_all(d, now_usec);
        d->dirty = false; /* what comes now is the answers' doing */
        tell_all(d, now_usec);
    }
    uint64_t now_usec = driver_now();
    if (d->stopping && !d->closing && is_handed_over(d, now_usec) && driver_checkpoint_is_last(d, now_usec) &&
        !flushes_is_running(d->flushes)) {
        driver_finish_stop(d);
        return;
    }
    bool again = d->dirty || more || d->n_fetches > 0 || d->wake_usec <= now_usec;
    d->dirty = again;
    set_idle(d, again);
    arm_timer(d, now_usec);
}

/* --- the control socket's calls --- */

struct session *driver_session_open(struct driver *d,
                                    void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot),
                                    void *user)
{
    return session_open(d->submissions, settled, user);
}

void driver_session_close(struct session *s)
{
    session_close(s);
}

slot_t driver_submit(struct session *s, const struct submit_request *q)
{
    struct driver *d = session_host(s);
    slot_t since = q->has_since ? q->since : replica_chosen(d->replica);
    /* far behind, its own prefix would be a `since` so old that the keys it stands for may be forgotten: mpaxos(7),
     * "Clients" */
    bool refuse = d->closing || (!q->has_since && d->status.lagging);
    session_submit(s, q, since, driver_time(), refuse);
    d->dirty = true;
    return since;
}

/* NULL: none is free. */
static struct driver_position *take_position(struct driver *d, void (*answer)(void *user, slot_t slot), void *user,
                                             uint64_t *ret_cookie)
{
    if (d->n_positions_free == 0 || d->closing)
        return NULL;
    uint32_t i = d->positions_free[--d->n_positions_free];
    struct driver_position *p = &d->positions[i];
    *p = (struct driver_position){.answer = answer, .user = user, .generation = (p->generation + 1) & INT32_MAX};
    *ret_cookie = POSITION_COOKIE | (uint64_t)p->generation << 32 | (i + 1);
    return p;
}

uint64_t driver_position(struct driver *d, void (*answer)(void *user, slot_t slot), void *user)
{
    uint64_t cookie;
    struct driver_position *p = take_position(d, answer, user, &cookie);
    if (p == NULL)
        return 0;
    struct event e = {.type = EVENT_POSITION, .now_usec = driver_now(), .cookie = cookie};
    driver_step(d, &e);
    if (!p->refused)
        return cookie;
    free_position(d, p);
    return 0;
}

void driver_position_cancel(struct driver *d, uint64_t cookie)
{
    uint64_t index = (cookie & UINT32_MAX) - 1;
    if ((cookie & POSITION_COOKIE) == 0 || index >= POSITIONS_MAX)
        return;
    struct driver_position *p = &d->positions[index];
    if (p->answer == NULL || p->generation != ((cookie & ~POSITION_COOKIE) >> 32))
        return;
    free_position(d, p);
    if (p->answered) {
        p->answered = false;
        d->n_positions--;
    } else if (p == d->bootstrap) {
        d->bootstrap = NULL;
    } else if (!d->closing) {
        struct event e = {.type = EVENT_CANCEL, .now_usec = driver_now(), .cookie = cookie};
        driver_step(d, &e);
    }
}

int driver_read(struct driver *d, slot_t from, size_t n_max, size_t bytes_max,
                bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next)
{
    return logread_read(d->logread, from, n_max, bytes_max, each, user, ret_next);
}

bool driver_tail(struct driver *d, struct tail_search *t, slot_t *ret)
{
    return logread_tail(d->logread, t, ret);
}

slot_t driver_first_kept(struct driver *d)
{
    return logread_first_kept(d->logread);
}

void driver_watch(struct driver *d, void (*moved)(void *user, slot_t chosen), void (*told)(void *user), void *user)
{
    d->watcher = moved;
    d->told = told;
    d->watcher_user = user;
}

int driver_bootstrap(struct driver *d, void (*answer)(void *user, slot_t slot), void *user, uint64_t *ret_cookie)
{
    if (replica_identity(d->replica)->status != IDENTITY_EMPTY)
        return -EEXIST;
    struct driver_position *p = take_position(d, answer, user, ret_cookie);
    if (p == NULL)
        return -EBUSY;
    struct event e = {.type = EVENT_BOOTSTRAP, .now_usec = driver_now()};
    driver_step(d, &e);
    if (replica_identity(d->replica)->status == IDENTITY_EMPTY) {
        free_position(d, p);
        return -EBUSY;
    }
    d->bootstrap = p;
    d->bootstrap_seq = d->records_seq;
    return 0;
}

void driver_skip(struct driver *d, const slot_t *slots, size_t n)
{
    struct event e = {.type = EVENT_SKIP, .now_usec = driver_now(), .slots = slots, .n_slots = n};
    driver_step(d, &e);
}

int driver_transfer(struct driver *d, replica_id_t target)
{
    if (target != REPLICA_ID_NONE && target != d->options.id && driver_find_member(d, target) < 0)
        return -EINVAL;
    struct event e = {.type = EVENT_TRANSFER, .now_usec = driver_now(), .target = target};
    driver_step(d, &e);
    return 0;
}

struct faults *driver_faults(struct driver *d)
{
    return d->options.faults;
}
