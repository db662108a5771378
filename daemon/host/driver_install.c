/* Checkpoints between replicas: one that missed more than its peers keep gets theirs, piece by piece, and goes on from
 * there.
 *
 * The one behind asks for a chunk at a time (driver_chunk.c); what came goes straight to the journal, after it was
 * looked through. Equal slot means equal bytes (paxos/checkpoint.h), so another peer may go on where one fell silent;
 * the hash at the end covers it all. Where none can, it is given up, and begun anew from what a peer has, if the core
 * still wants one. Only once the journal holds it durably does the core go on from it. A peer serves one chunk every
 * SERVE_USEC, so that nothing new waits for it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/notice.h"

enum {
    REFUSED_USEC = 10000000,
    SOURCE_GONE_USEC = 5 * CHUNK_SILENCE_USEC, /* no peer has the next piece: begun anew, if it still helps */
};

enum stage {
    STAGE_ASKING,    /* for pieces of the chunk                                          */
    STAGE_BEGINNING, /* the first chunk is whole, and the journal still busy             */
    STAGE_APPENDING, /* the chunk is whole, and goes to the journal                      */
    STAGE_FLUSHING,  /* all is there; what it makes obsolete goes to the chat log first  */
    STAGE_FINISHING, /* the journal makes it durable                                     */
};

struct install {
    enum stage stage;
    replica_id_t from;
    slot_t slot;
    struct chunk chunk;
    size_t appended; /* of it */
    struct checkpoint_reader check;
    uint8_t *host; /* its part for the host */
    size_t host_size;
    uint8_t bytes[CHECKPOINT_CHUNK_BYTES]; /* of the chunk */
};

/* --- serving --- */

/* Whose bytes: the newest one, or the one that was served last, while the journal holds it. False: that one is gone. */
static bool find_served(struct driver *d, slot_t slot, const struct journal_checkpoint *newest)
{
    struct served *s = &d->served;
    if (slot == newest->slot)
        s->checkpoint = *newest;
    return slot != 0 && slot == s->checkpoint.slot;
}

void driver_serve_checkpoint(struct driver *d, replica_id_t from, const struct checkpoint_fetch *q)
{
    uint64_t now_usec = driver_now();
    struct journal_checkpoint newest;
    struct checkpoint_fetch wanted = *q;
    if (now_usec < d->served.next_usec) /* it asks again */
        return;
    if ((q->slot & CHECKPOINT_HISTORY) != 0) {
        driver_serve_history(d, from, q);
        return;
    }
    if (!journal_checkpoint_newest(d->journal, &newest) ||
        (d->served.bytes == NULL && (d->served.bytes = malloc(CHECKPOINT_CHUNK_BYTES)) == NULL))
        return;
    d->served.next_usec = now_usec + SERVE_USEC;
    int64_t n = find_served(d, wanted.slot, &newest) ? 0 : -ESTALE;
    if (n == 0)
        n = journal_checkpoint_read(d->journal, wanted.slot, wanted.offset, d->served.bytes, CHECKPOINT_CHUNK_BYTES);
    if (n == -ESTALE) { /* the first piece of the newest one tells that, too */
        wanted = (struct checkpoint_fetch){.slot = newest.slot, .missing = {1}};
        find_served(d, wanted.slot, &newest);
        n = journal_checkpoint_read(d->journal, wanted.slot, 0, d->served.bytes, CHECKPOINT_PIECE_BYTES);
    }
    if (n < 0)
        log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_ERROR,
                    "journal: the checkpoint of slot %" PRIu64 " cannot be read: %s; replica %u gets it from another",
                    wanted.slot, strerror((int)-n), from);
    else
        driver_chunk_send(d, from, &wanted, d->served.checkpoint.size, d->served.bytes, (uint64_t)n);
}

/* --- asking --- */

bool driver_install_is_active(const struct driver *d)
{
    return d->install != NULL;
}

static void install_end(struct driver *d)
{
    struct install *in = d->install;
    if (in == NULL)
        return;
    free(in->host);
    free(in);
    d->install = NULL;
}

static void give_up(struct driver *d, uint64_t wait_usec)
{
    if (d->install->chunk.offset > 0 || d->install->stage >= STAGE_APPENDING)
        journal_checkpoint_cancel(d->journal);
    d->appended = true;
    d->install_after_usec = driver_now() + wait_usec;
    install_end(d);
}

static void refuse(struct driver *d)
{
    log_line(LOG_LEVEL_ERROR,
             "replica %u: its checkpoint of slot %" PRIu64 " is not one of this cluster; it is not used. Compare "
             "mpaxosctl version on both, and report this",
             d->install->from, d->install->slot);
    give_up(d, REFUSED_USEC);
}

/* From `from`, the newest that it has. */
static void begin(struct driver *d, struct install *in, replica_id_t from, slot_t slot, uint64_t total)
{
    free(in->host);
    in->host = NULL;
    in->host_size = 0;
    in->stage = STAGE_ASKING;
    in->from = from;
    in->slot = slot;
    in->appended = 0;
    in->chunk.heard_usec = driver_now();
    checkpoint_check(&in->check, replica_identity(d->replica));
    driver_chunk_begin(&in->chunk, total, 0, 0);
}

/* The core has nobody left who keeps what it misses. */
void driver_install_wanted(struct driver *d, replica_id_t from, uint64_t now_usec)
{
    struct install *in = d->install;
    if (in != NULL) {
        if (in->from != from && now_usec >= in->chunk.heard_usec + CHUNK_SILENCE_USEC)
            in->from = from;
        return;
    }
    if (now_usec < d->install_after_usec || d->closing || (in = calloc(1, sizeof(*in))) == NULL)
        return;
    d->install = in;
    driver_checkpoint_give_up(d, 0);
    /* the size is told by the first piece */
    begin(d, in, from, 0, CHECKPOINT_CHUNK_BYTES);
    log_line(LOG_LEVEL_NOTICE,
             "far behind: what follows slot %" PRIu64 " is no longer kept by the others; replica %u's checkpoint is "
             "fetched",
             replica_chosen(d->replica), from);
}

/* What the log does not need here any more is no reason to begin; nor is what the journal has already. */
static bool is_ahead(struct driver *d, slot_t slot)
{
    struct journal_checkpoint newest;
    return slot > replica_chosen(d->replica) && (!journal_checkpoint_newest(d->journal, &newest) || slot > newest.slot);
}

void driver_install_piece(struct driver *d, replica_id_t from, const struct checkpoint_piece *p)
{
    struct install *in = d->install;
    const struct configuration *c = &replica_identity(d->replica)->configuration;
    if (in == NULL || in->stage != STAGE_ASKING || p->total > checkpoint_size_max(c))
        return;
    if (p->slot != in->slot || p->total != in->chunk.total) {
        if (from != in->from || p->slot <= in->slot || p->offset != 0)
            return;
        if (in->chunk.offset > 0)
            journal_checkpoint_cancel(d->journal);
        d->appended = true;
        if (!is_ahead(d, p->slot)) { /* it has none yet that helps */
            install_end(d);
            return;
        }
        begin(d, in, from, p->slot, p->total);
    }
    driver_chunk_take(d, &in->chunk, p, in->bytes);
}

/* --- what came goes to the journal --- */

static bool keep_host_part(struct install *in, const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return true;
    if (in->host == NULL && (in->host = malloc(in->check.host_size)) == NULL)
        return false;
    memcpy(in->host + in->host_size, bytes, size);
    in->host_size += size;
    return true;
}

/* Looked through before a byte of it is kept; the last chunk tells whether it is whole. */
static bool is_chunk_sound(struct driver *d, struct install *in)
{
    const uint8_t *host;
    size_t host_size;
    const struct checkpoint_reader *c = &in->check;
    size_t size = driver_chunk_size(&in->chunk);
    if (!checkpoint_read(&in->check, in->bytes, size, &host, &host_size) || c->slot != in->slot ||
        !keep_host_part(in, host, host_size))
        return false;
    if (in->chunk.offset + size < in->chunk.total)
        return c->stage != CHECKPOINT_WHOLE;
    return c->stage == CHECKPOINT_WHOLE && is_ahead(d, in->slot) &&
           logread_checkpoint_is_sound(in->host, in->host_size, in->slot, c->first_kept);
}

static void append(struct driver *d, struct install *in)
{
    size_t size = driver_chunk_size(&in->chunk);
    int64_t taken = journal_checkpoint_append(d->journal, in->bytes + in->appended, size - in->appended);
    if (taken <= 0)
        return; /* its state tells why */
    in->appended += (size_t)taken;
    d->appended = true;
    if (in->appended < size)
        return;
    uint64_t asked_usec = in->chunk.ask_usec - CHUNK_ASK_USEC;
    in->appended = 0;
    in->chunk.heard_usec = driver_now(); /* the silence was the journal's */
    in->stage = driver_chunk_next(&in->chunk, asked_usec + SERVE_USEC) ? STAGE_ASKING : STAGE_FLUSHING;
}

/* Into the core's tables, and to the log's readers. */
static bool load(struct driver *d, struct install *in)
{
    const uint8_t *host;
    size_t host_size;
    uint64_t at = 0;
    checkpoint_load(&in->check, d->replica);
    for (int64_t n; at < in->chunk.total; at += (uint64_t)n) {
        n = journal_checkpoint_read(d->journal, in->slot, at, in->bytes, sizeof(in->bytes));
        if (n <= 0 || !checkpoint_read(&in->check, in->bytes, (size_t)n, &host, &host_size))
            return false;
    }
    return in->check.stage == CHECKPOINT_WHOLE &&
           logread_restore(d->logread, in->host, in->host_size, in->slot, in->check.first_kept) == 0;
}

static void go_on(struct driver *d, struct install *in, uint64_t now_usec)
{
    slot_t slot = in->slot, before = replica_chosen(d->replica);
    if (before < slot) {
        if (!load(d, in)) { /* it was durable a moment ago; the core's tables are gone */
            notice(NOTICE_DISK_FAILED, &(struct notice_about){.path = d->options.state_dir},
                   "journal: the checkpoint that was just written cannot be read; this replica stops; the disk of %s "
                   "must be looked at",
                   d->options.state_dir);
            _exit(EXIT_DISK);
        }
        struct event e = {.type = EVENT_INSTALL, .now_usec = now_usec, .checkpoint = &in->check};
        driver_step(d, &e);
        d->moved = true;
    }
    install_end(d);
    d->checkpoint.bytes = 0;
    d->checkpoint.done_usec = now_usec;
    driver_skip_flush(d);
}

static bool is_durable(struct driver *d, const struct install *in)
{
    struct journal_checkpoint newest;
    return journal_checkpoint_state(d->journal) == CHECKPOINT_IDLE && journal_checkpoint_newest(d->journal, &newest) &&
           newest.slot == in->slot;
}

static void begin_writing(struct driver *d, struct install *in)
{
    int r = journal_checkpoint_begin(d->journal, in->slot, CHECKPOINT_FETCHED);
    if (r == 0)
        in->stage = STAGE_APPENDING;
    else if (r != -EBUSY)
        give_up(d, REFUSED_USEC);
}

bool driver_install_work(struct driver *d, uint64_t now_usec)
{
    struct install *in = d->install;
    if (in == NULL || d->closing)
        return false;
    if (in->stage >= STAGE_APPENDING && journal_checkpoint_state(d->journal) == CHECKPOINT_FAILED) {
        log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_WARNING,
                    "journal: no room for the checkpoint of replica %u: free some space", in->from);
        give_up(d, REFUSED_USEC);
        return false;
    }
    enum stage before = in->stage;
    switch (in->stage) {
    case STAGE_ASKING:
        if (driver_chunk_is_whole(&in->chunk)) {
            in->stage = in->chunk.offset == 0 ? STAGE_BEGINNING : STAGE_APPENDING;
            if (!is_chunk_sound(d, in)) {
                refuse(d);
                return false;
            }
        } else if (now_usec >= in->chunk.heard_usec + SOURCE_GONE_USEC) {
            log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_NOTICE,
                        "far behind: nobody sends more of that checkpoint; its fetch is given up, and begun anew if "
                        "it still helps");
            give_up(d, 0);
            return false;
        } else {
            driver_chunk_ask(d, &in->chunk, in->from, in->slot, now_usec);
        }
        break;
    case STAGE_BEGINNING:
        begin_writing(d, in);
        break;
    case STAGE_APPENDING:
        append(d, in);
        break;
    case STAGE_FLUSHING:
        if (!is_ahead(d, in->slot)) /* it caught up otherwise meanwhile */
            give_up(d, 0);
        else if (flushes_flushed(d->flushes) >= replica_chosen(d->replica)) {
            journal_checkpoint_finish(d->journal);
            d->appended = true;
            in->stage = STAGE_FINISHING;
        }
        break;
    case STAGE_FINISHING:
        if (is_durable(d, in))
            go_on(d, in, now_usec);
        break;
    }
    return d->install != NULL && d->install->stage != before;
}

slot_t driver_install_obsoletes(const struct driver *d)
{
    return d->install != NULL && d->install->stage == STAGE_FLUSHING ? replica_chosen(d->replica) : 0;
}

uint64_t driver_install_next_usec(const struct driver *d)
{
    return d->install != NULL && d->install->stage == STAGE_ASKING ? d->install->chunk.ask_usec : UINT64_MAX;
}

void driver_install_free(struct driver *d)
{
    install_end(d);
    free(d->served.bytes);
}
