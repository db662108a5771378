/* The driver's beginning, from what stands on the disk. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/notice.h"
#include "host/secret.h"
#include "host/service.h"

enum { REPLAY_PATIENCE_USEC = 30000000, HUGE_PAGE_BYTES = 2 << 20 };

/* --- the identity --- */

static int out_of_memory(void)
{
    log_line(LOG_LEVEL_ERROR,
             "out of memory at the start; \"dedup_slots\" in the configuration is what takes most of it");
    return EXIT_FAILURE;
}

static int refuse_state(const struct driver *d, enum journal_result r, const char *error)
{
    enum notice_kind kind = r == JOURNAL_REFUSED    ? NOTICE_STATE_REFUSED
                            : r == JOURNAL_NO_SPACE ? NOTICE_DISK_FULL
                                                    : NOTICE_DISK_FAILED;
    notice(kind, &(struct notice_about){.path = d->options.state_dir}, "%s", error);
    return r == JOURNAL_REFUSED ? EXIT_REFUSED : EXIT_DISK;
}

static int open_state(struct driver *d, struct identity *ret)
{
    char error[JOURNAL_ERROR_MAX + 1] = "";
    const char *dir = d->options.state_dir;
    int e = vfs_posix_open(dir, &d->vfs);
    if (e == -EWOULDBLOCK) {
        log_line(LOG_LEVEL_ERROR, "another mpaxosd runs on %s; stop it, or give this one another --dir", dir);
        return EXIT_FAILURE;
    }
    if (e < 0) {
        log_line(LOG_LEVEL_ERROR,
                 "state directory %s: %s; it must exist or be creatable, and be writable for this user", dir,
                 strerror(-e));
        return e == -EIO ? EXIT_DISK : EXIT_FAILURE;
    }
    enum journal_result r = journal_read_identity(d->vfs, ret, error);
    if (r != JOURNAL_OK)
        return refuse_state(d, r, error);
    if (ret->status == 0) {
        config_identity(d->config, d->options.id, driver_random(), ret);
        return 0;
    }
    if (ret->id != d->options.id) {
        notice(NOTICE_STATE_REFUSED, &(struct notice_about){.path = dir},
               "state directory %s is replica %u's, not %u's; start it with -i %u, or name the right directory", dir,
               ret->id, d->options.id, ret->id);
        return EXIT_REFUSED;
    }
    if (ret->status == IDENTITY_EMPTY) /* nothing was begun: a file that was put right counts */
        config_identity(d->config, ret->id, ret->life, ret);
    driver_compare_config(d, ret, d->config);
    return 0;
}

/* --- the other members --- */

/* "host:port" or "[host]:port", as a CONFIG entry holds it. */
static bool split_address(const struct member *m, struct peer_address *ret)
{
    char text[ADDRESS_BYTES_MAX + 1], *host = text, *colon;
    memcpy(text, m->address, m->address_size);
    text[m->address_size] = 0;
    colon = strrchr(text, ':');
    if (colon == NULL)
        return false;
    *colon = 0;
    if (host[0] == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = 0;
    }
    ret->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return snprintf(ret->host, sizeof(ret->host), "%s", host) < (int)sizeof(ret->host);
}

static void find_members(struct driver *d, const struct configuration *c)
{
    for (uint32_t i = 0; i < c->n_members; i++) {
        struct peer_address *a = &d->members[d->n_members].address;
        const struct config_replica *r = config_find(d->config, c->members[i].id);
        if (c->members[i].id == d->options.id)
            continue;
        a->id = c->members[i].id;
        if (r != NULL) {
            a->port = r->port;
            memcpy(a->host, r->host, sizeof(a->host));
        } else if (!split_address(&c->members[i], a)) {
            log_line(LOG_LEVEL_WARNING,
                     "replica %u has no address: neither the configuration nor the log has a usable one", a->id);
        }
        d->n_members++;
    }
}

static bool make_seal(struct driver *d, const replica_id_t *ids)
{
    const struct seal_options o = {
        .self = d->options.id, .peers = ids, .n_peers = (uint32_t)d->n_members, .draw = driver_draw};
    if (d->options.keys == NULL)
        return true;
    void *block = secret_new(seal_size(o.n_peers));
    d->opened = malloc(DATAGRAM_BYTES_MAX);
    if (block == NULL || d->opened == NULL) {
        sodium_free(block);
        return false;
    }
    d->seal = seal_init(block, &o);
    seal_set_keys(d->seal, d->options.keys);
    return true;
}

static int open_network(struct driver *d, const struct identity *own)
{
    struct peer_address others[REPLICAS_MAX];
    replica_id_t ids[REPLICAS_MAX];
    const struct config_replica *self = config_find(d->config, d->options.id);
    if (self == NULL) {
        log_line(LOG_LEVEL_ERROR, "the configuration has no replica %u", d->options.id);
        return 78;
    }
    find_members(d, &own->configuration);
    for (size_t i = 0; i < d->n_members; i++) {
        others[i] = d->members[i].address;
        ids[i] = others[i].id;
    }
    struct peers_options o = {.loop = d->options.loop,
                              .others = others,
                              .n_others = d->n_members,
                              .faults = d->options.faults,
                              .received = driver_received,
                              .user = d,
                              .self = {.id = d->options.id, .port = self->port}};
    memcpy(o.self.host, self->host, sizeof(o.self.host));
    if (peers_open(&o, &d->peers) < 0)
        return EXIT_FAILURE;
    if (!make_seal(d, ids))
        return out_of_memory();
    struct datagram_header h = {.cluster_name_hash = d->cluster_name_hash,
                                .cluster = own->cluster,
                                .from = own->id,
                                .from_life = own->life,
                                .boot = driver_random()};
    return outbox_init(&d->outbox, d->peers, d->seal, ids, d->n_members, &h, d->config->datagram_bytes) < 0
               ? out_of_memory()
               : 0;
}

/* --- the core and its journal --- */

static void *allocate_block(size_t size, int advice)
{
    size_t whole = (size + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    void *block = aligned_alloc(HUGE_PAGE_BYTES, whole);
    if (block != NULL)
        madvise(block, whole, advice); /* where the kernel has no huge pages, it stays as it is */
    return block;
}

static int make_core(struct driver *d, const struct identity *own)
{
    size_t n = d->n_members > 0 ? d->n_members : 1;
    struct replica_config c = {
        .identity = *own,
        .heartbeat_usec = d->config->heartbeat_ms * 1000,
        .message_bytes_max = d->config->message_bytes_max,
        .proposal_bytes_max = PROPOSAL_BYTES_MAX,
        .submissions_max = SUBMISSIONS_DEFAULT,
        .promise_page_slots = datagram_promise_slots(d->config->datagram_bytes),
        .space_bytes = (uint32_t)(peers_receive_bytes(d->peers) / 2 / n), /* half is the system's overhead */
        .seed = driver_random(),
        .now_usec = driver_now(),
    };
    d->checkpoint.block_size = checkpoint_writer_size(&c);
    /* What each message looks up is spread over all of the core: in pages of 4 KiB the processor would look up most of
     * their addresses, too. Of the assembly little is ever touched, and memory is only what is. */
    d->block = allocate_block(replica_size(&c), MADV_HUGEPAGE);
    d->assembly_block = allocate_block(assembly_size((uint32_t)n, VALUE_BYTES_MAX), MADV_NOHUGEPAGE);
    d->incoming = malloc(sizeof(*d->incoming));
    d->logread = logread_new(&d->values);
    if (d->block == NULL || d->assembly_block == NULL || d->incoming == NULL || d->logread == NULL)
        return out_of_memory();
    d->assembly = assembly_init(d->assembly_block, (uint32_t)n, VALUE_BYTES_MAX);
    d->replica = replica_init(d->block, &c);
    return 0;
}

/* What a start reads the checkpoint with. */
struct restoring {
    struct driver *driver;
    slot_t slot; /* of the checkpoint; 0: none */
    uint8_t *host;
    size_t host_size;
    struct checkpoint_reader reader;
};

static bool restore_end(struct restoring *s)
{
    struct driver *d = s->driver;
    const struct checkpoint_reader *c = &s->reader;
    if (c->stage != CHECKPOINT_WHOLE || !logread_checkpoint_is_sound(s->host, s->host_size, c->slot, c->first_kept) ||
        logread_restore(d->logread, s->host, s->host_size, c->slot, c->first_kept) < 0)
        return false;
    s->slot = c->slot;
    d->checkpoint.done_usec = driver_now();
    return replica_restore_checkpoint(d->replica, c);
}

/* The journal checked its bytes; what they mean is checked here. */
static bool restore_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct restoring *s = user;
    const uint8_t *host;
    size_t host_size;
    if (bytes == NULL)
        return s->reader.slot == slot && restore_end(s);
    if (s->reader.own == NULL)
        checkpoint_load(&s->reader, s->driver->replica);
    if (!checkpoint_read(&s->reader, bytes, size, &host, &host_size))
        return false;
    if (host_size > 0 && s->host == NULL && (s->host = malloc(s->reader.host_size)) == NULL)
        return false;
    if (host_size > 0)
        memcpy(s->host + s->host_size, host, host_size);
    s->host_size += host_size;
    return true;
}

static bool restore(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    const struct restoring *s = user;
    struct driver *d = s->driver;
    struct effects effects;
    bool counts = record->slot > s->slot;
    record->value = NULL;
    if (counts && (record->type == RECORD_ACCEPT || record->type == RECORD_CHOSEN)) {
        if (values_copy(&d->values, bytes, size, &replica_identity(d->replica)->cluster, &record->value) < 0)
            return false;
    }
    bool ok = replica_restore(d->replica, record, &effects);
    logread_add(d->logread, effects.applied, effects.n_applied);
    if (counts)
        driver_checkpoint_count(d, record);
    if (counts && record->type == RECORD_COMMIT)
        logread_committed(d->logread, record->slot);
    values_release(effects.released);
    values_unref(record->value);
    return ok;
}

/* The journal's thread: the loop looks for itself. */
static void written(void *user, int error)
{
    struct driver *d = user;
    if (error < 0)
        __atomic_store_n(&d->write_error, error, __ATOMIC_RELEASE);
    if (d->started)
        wakeup_send(&d->written);
}

/* A long journal is no reason to give a start up. */
static void on_progress(void *user, uint64_t bytes_done, uint64_t bytes_all)
{
    (void)user, (void)bytes_done, (void)bytes_all;
    service_extend_timeout(REPLAY_PATIENCE_USEC);
}

static int open_journal(struct driver *d, const struct identity *own)
{
    char error[JOURNAL_ERROR_MAX + 1] = "";
    const struct notice_about about = {.path = d->options.state_dir};
    struct journal_options o = {.vfs = d->vfs,
                                .written = written,
                                .user = d,
                                .segment_bytes = d->options.segment_bytes != 0 ? d->options.segment_bytes
                                                                               : JOURNAL_SEGMENT_BYTES_DEFAULT};
    struct restoring *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return out_of_memory();
    s->driver = d;
    const struct journal_replay replay = {
        .checkpoint = restore_checkpoint, .each = restore, .progress = on_progress, .user = s};
    enum journal_result r = journal_open(&o, own, &replay, &d->journal, error);
    free(s->host);
    free(s);
    if (r != JOURNAL_OK)
        return refuse_state(d, r, error);
    if (error[0] != 0)
        notice(replica_identity(d->replica)->status == IDENTITY_QUARANTINED ? NOTICE_QUARANTINED : NOTICE_DAMAGE_CUT,
               &about, "journal: %s", error);
    struct journal_stats stats;
    journal_stats(d->journal, &stats);
    if (stats.torn_bytes > 0)
        notice(NOTICE_TAIL_CUT, &about,
               "journal: %" PRIu64 " bytes of a write that was cut off were removed from its end; nothing that was "
               "acknowledged stood there",
               stats.torn_bytes);
    logread_attach(d->logread, d->journal, &own->cluster);
    d->space = true; /* as the core begins; the first turn looks */
    return 0;
}

static uint64_t draw(void *user)
{
    (void)user;
    return driver_random();
}

static void cancel(void *user, uint64_t cookie)
{
    struct driver *d = user;
    if (d->closing)
        return;
    struct event e = {.type = EVENT_CANCEL, .now_usec = driver_now(), .cookie = cookie};
    driver_step(d, &e);
}

static int make_services(struct driver *d)
{
    char error[CONFIG_ERROR_MAX + 1] = "";
    struct submissions_options s = {.values = &d->values, .draw = draw, .cancel = cancel, .user = d};
    if (chatlog_open(d->options.state_dir, d->options.log_path, d->config->log_format, &d->chatlog, error) < 0) {
        log_line(LOG_LEVEL_ERROR, "%s", error);
        return EXIT_FAILURE;
    }
    d->submissions = submissions_new(&s);
    bool has_flushes = driver_flush_init(d);
    for (uint32_t i = 0; i < POSITIONS_MAX; i++)
        d->positions_free[d->n_positions_free++] = POSITIONS_MAX - 1 - i;
    return d->submissions == NULL || !has_flushes ? out_of_memory() : 0;
}

/* --- the loop --- */

static void on_prepare(uv_prepare_t *prepare)
{
    driver_turn(prepare->data);
}

static void on_check(uv_check_t *check)
{
    driver_turn(check->data);
}

static void on_tick(uv_timer_t *tick)
{
    driver_on_tick(tick->data);
}

bool driver_write_failed(const struct driver *d)
{
    int error = __atomic_load_n(&d->write_error, __ATOMIC_ACQUIRE);
    if (error == 0)
        return false;
    notice(NOTICE_DISK_FAILED, &(struct notice_about){.path = d->options.state_dir},
           "journal: write failed: %s; this replica stops; the disk of %s must be looked at", strerror(-error),
           d->options.state_dir);
    return true;
}

static void on_written(void *user)
{
    struct driver *d = user;
    if (driver_write_failed(d)) /* nothing may leave any more: what it rests on is not on the disk */
        _exit(EXIT_DISK);
    if (d->closing)
        return;
    struct event e = {.type = EVENT_DURABLE, .now_usec = driver_now(), .durable_seq = journal_durable_seq(d->journal)};
    outbox_durable(&d->outbox, e.durable_seq, e.now_usec);
    driver_step(d, &e);
}

static int loop_failed(int error)
{
    log_line(LOG_LEVEL_ERROR,
             "the event loop or the journal's thread cannot be started: %s; raise the limits of open "
             "files and processes",
             strerror(-error));
    return EXIT_FAILURE;
}

static int start_loop(struct driver *d)
{
    uv_loop_t *loop = d->options.loop;
    int error = wakeup_init(&d->written, loop, on_written, d);
    if (error < 0)
        return loop_failed(error);
    d->started = true; /* from here on the loop refers to it */
    uv_prepare_init(loop, &d->prepare);
    uv_check_init(loop, &d->check);
    uv_idle_init(loop, &d->idle);
    uv_timer_init(loop, &d->timer);
    uv_timer_init(loop, &d->tick);
    d->prepare.data = d->check.data = d->timer.data = d->tick.data = d;
    uv_prepare_start(&d->prepare, on_prepare);
    uv_check_start(&d->check, on_check);
    uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
    error = peers_start(d->peers);
    if (error == 0)
        error = journal_thread_start(d->journal, &d->thread);
    return error < 0 ? loop_failed(error) : 0;
}

static void start_core(struct driver *d)
{
    struct effects effects;
    uint64_t now_usec = driver_now();
    d->armed_usec = UINT64_MAX;
    d->status.leader = REPLICA_ID_NONE;
    d->status.identity = replica_identity(d->replica)->status;
    d->stepping = true;
    replica_start(d->replica, now_usec, &effects);
    driver_carry_out(d, &effects, now_usec);
    d->stepping = false;
}

int driver_start(const struct driver_options *o, struct driver **ret)
{
    struct identity own;
    struct driver *d = calloc(1, sizeof(*d));
    int status = d == NULL ? out_of_memory() : 0;
    if (status == 0) {
        d->options = *o;
        d->config = o->config;
        values_init(&d->values);
        d->cluster_name_hash = config_cluster_name_hash(o->config);
        status = open_state(d, &own);
    }
    if (status == 0)
        status = open_network(d, &own);
    if (status == 0)
        status = make_core(d, &own);
    if (status == 0)
        status = open_journal(d, &own);
    if (status == 0)
        status = make_services(d);
    if (status == 0)
        status = start_loop(d);
    if (status != 0) {
        if (d == NULL || !d->started)
            driver_free(d);
        return status;
    }
    start_core(d);
    driver_skip_flush(d);
    *ret = d;
    return 0;
}
