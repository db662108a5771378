/* What rots in the journal of this replica, got again from the peers.
 *
 * A slow pass over the full segments finds what no read comes upon. What a damaged stretch held is asked of a peer by
 * the page: chosen values and their notes from a slot on, in pieces, as a checkpoint's are. A page is the slot u64; for
 * each slot from there on the value's size u32, the note's type u32 and time u64, the value; and a hash of it all by
 * the cluster's id. It takes what fits HISTORY_PAGE_BYTES, one slot at least; a page of one byte says that the slot
 * cannot be read there. The values are looked through, and compared with what can still be read here, before the
 * journal gets them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/rot_text.h"
#include "paxos/bytes.h"

enum {
    HISTORY_PAGE_BYTES = 128 << 10,
    PAGE_HEAD_BYTES = 8,
    PAGE_HASH_BYTES = 16,
    PAGE_ENTRY_BYTES = 16,
    PAGE_SLOTS_MAX = 4096,
    PAGE_NONE_BYTES = 1,
    ASK_USEC = 30000,       /* again, where pieces are missing               */
    SILENCE_USEC = 1000000, /* then another peer is asked                    */
    AGAIN_USEC = 10000000,  /* what could not be mended; then twice as late  */
    AGAIN_MOST_USEC = 640000000,
    AWAY_USEC = 30000000,
    SKIP_SLOTS_MAX = 1024,       /* of the chat log file, in a tick */
    SCRUB_STRETCHES_MAX = 8,     /* in a tick: a very large log takes longer       */
    SCRUB_PAUSE_USEC = 60000000, /* between two passes, and where there is nothing */
};

#define SCRUB_USEC UINT64_C(86400000000) /* a pass */

/* --- a peer's page --- */

struct page {
    uint8_t *bytes;
    size_t size, room;
    slot_t next;
};

static bool add_entry(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    struct page *p = user;
    uint8_t *entry = p->bytes + p->size;
    bool noted = record->n_notes > 0;
    if (record->slot != p->next || p->room - p->size < (size_t)PAGE_ENTRY_BYTES + size + PAGE_HASH_BYTES)
        return false;
    put_u32(entry, size);
    put_u32(entry + 4, noted ? (uint32_t)record->notes[0].type : 0);
    put_u64(entry + 8, noted ? record->notes[0].time_usec : 0);
    memcpy(entry + PAGE_ENTRY_BYTES, bytes, size);
    p->size += PAGE_ENTRY_BYTES + (size_t)size;
    p->next++;
    return p->size < HISTORY_PAGE_BYTES;
}

/* At most as large as a page with one value, or HISTORY_PAGE_BYTES and one value more. */
static size_t page_bytes_max(const struct driver *d)
{
    return (size_t)HISTORY_PAGE_BYTES + PAGE_HEAD_BYTES + PAGE_HASH_BYTES + PAGE_ENTRY_BYTES + d->value_bytes_max;
}

/* False: the slot cannot be read here. */
static bool fill_page(struct driver *d, slot_t slot, struct page *ret)
{
    put_u64(ret->bytes, slot);
    journal_read(d->journal, slot, logread_committed_slot(d->logread), PAGE_SLOTS_MAX, HISTORY_PAGE_BYTES, add_entry,
                 ret);
    struct hash128 hash = hash_bytes(&replica_identity(d->replica)->cluster, ret->bytes, ret->size);
    memcpy(ret->bytes + ret->size, hash.bytes, PAGE_HASH_BYTES);
    ret->size += PAGE_HASH_BYTES;
    return ret->next > slot;
}

void driver_serve_history(struct driver *d, replica_id_t from, const struct checkpoint_fetch *q)
{
    static const uint8_t none[PAGE_NONE_BYTES];
    const struct checkpoint_fetch first = {.slot = q->slot, .missing = {1}};
    const slot_t slot = q->slot & ~CHECKPOINT_HISTORY;
    uint64_t now_usec = driver_now();
    struct page page = {.room = page_bytes_max(d), .size = PAGE_HEAD_BYTES, .next = slot};
    if (now_usec < d->served.next_usec) /* it asks again */
        return;
    d->served.next_usec = now_usec + SERVE_USEC;
    page.bytes = malloc(page.room);
    if (page.bytes == NULL) /* the same */
        return;
    if (!fill_page(d, slot, &page)) {
        driver_send_pieces(d, from, &first, PAGE_NONE_BYTES, none, PAGE_NONE_BYTES);
    } else if (q->offset < page.size) {
        uint64_t left = page.size - q->offset;
        driver_send_pieces(d, from, q, page.size, page.bytes + q->offset,
                           left < CHECKPOINT_CHUNK_BYTES ? (size_t)left : CHECKPOINT_CHUNK_BYTES);
    }
    free(page.bytes);
}

/* --- asking --- */

static void forget_page(struct mending *m)
{
    free(m->page);
    m->page = NULL;
    m->slot = 0;
}

static size_t chunk_size(const struct mending *m)
{
    uint64_t left = m->total - m->offset;
    return left < CHECKPOINT_CHUNK_BYTES ? (size_t)left : CHECKPOINT_CHUNK_BYTES;
}

static void chunk_begin(struct mending *m, uint64_t offset)
{
    m->offset = offset;
    m->ask_usec = 0;
    memset(m->missing, 0, sizeof(m->missing));
    for (size_t at = 0, i = 0; at < chunk_size(m); at += CHECKPOINT_PIECE_BYTES, i++)
        m->missing[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool is_chunk_whole(const struct mending *m)
{
    uint64_t any = 0;
    for (size_t i = 0; i < CHECKPOINT_WORDS; i++)
        any |= m->missing[i];
    return any == 0;
}

/* Another is to be asked: the peer that was `lacks` it, or is silent. */
static void turn_away(struct driver *d, bool lacks)
{
    struct mending *m = &d->mending;
    int member = driver_find_member(d, m->from);
    if (member >= 0) {
        m->tried |= UINT32_C(1) << member;
        m->lacking |= (uint32_t)lacks << member;
    }
    forget_page(m);
    d->dirty = true;
}

/* One that knows the slot to be chosen, and was not asked in vain. */
static bool choose_peer(struct driver *d, slot_t slot)
{
    struct mending *m = &d->mending;
    for (uint32_t i = 0; i < d->status.n_peers; i++) {
        const struct peer_status *p = &d->status.peers[i];
        int member = driver_find_member(d, p->id);
        if (member < 0 || (m->tried >> member & 1) != 0 || !p->linked || p->chosen < slot)
            continue;
        m->from = p->id;
        return true;
    }
    return false;
}

static void ask(struct driver *d, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    struct message message = {.type = MESSAGE_CHECKPOINT_FETCH,
                              .checkpoint_fetch = {.slot = m->slot | CHECKPOINT_HISTORY, .offset = m->offset}};
    memcpy(message.checkpoint_fetch.missing, m->missing, sizeof(m->missing));
    driver_send(d, m->from, &message);
    m->ask_usec = now_usec + ASK_USEC;
}

/* Members that have not been linked for long, or are behind themselves, count as if they did not have it, but only
 * where a checkpoint waits to be installed: else one that is down would keep this replica behind for ever. */
static uint32_t find_away(const struct driver *d, slot_t slot, uint64_t now_usec)
{
    uint32_t set = 0;
    if (driver_install_obsoletes(d) == 0 || !d->status.quorum)
        return 0;
    for (uint32_t i = 0; i < d->status.n_peers; i++) {
        const struct peer_status *p = &d->status.peers[i];
        int member = driver_find_member(d, p->id);
        if (member >= 0 && (p->linked ? p->chosen < slot : now_usec - d->mending.linked_usec[member] >= AWAY_USEC))
            set |= UINT32_C(1) << member;
    }
    return set;
}

/* Whether every member said of what is wanted that it does not have it. Then all of the run is gone that cannot be read
 * here: it is mended as a whole or not at all. */
static void note_gone(struct driver *d, slot_t slot, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    struct slot_range r;
    if ((m->lacking | find_away(d, slot, now_usec)) != (UINT32_C(1) << d->n_members) - 1 ||
        !journal_mend_slots(d->journal, &r.first, &r.last))
        return;
    for (size_t i = 0, n = journal_rot(d->journal, rot); i < n; i++)
        if (rot[i].state == JOURNAL_ROT_MENDING && rot[i].first <= r.first && r.first <= rot[i].last)
            r.first = rot[i].first;
    for (size_t i = 0; i < m->n_gone; i++)
        if (m->gone[i].first <= r.first && r.last <= m->gone[i].last)
            return;
    if (m->n_gone == JOURNAL_ROT_MAX)
        m->n_gone = 0;
    m->gone[m->n_gone++] = r;
}

/* The page from `slot` on. The size is told by the first piece. */
static void begin(struct driver *d, slot_t slot, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    forget_page(m);
    if (!choose_peer(d, slot)) {
        note_gone(d, slot, now_usec);
        m->tried = m->lacking = 0;
        journal_mend_put_off(d->journal);
        d->dirty = true;
        return;
    }
    m->slot = slot;
    m->total = 0;
    m->offset = 0;
    memset(m->missing, 0, sizeof(m->missing));
    m->missing[0] = 1;
    m->heard_usec = now_usec;
    ask(d, now_usec);
}

void driver_mend_piece(struct driver *d, replica_id_t from, const struct checkpoint_piece *p)
{
    struct mending *m = &d->mending;
    if (m->slot == 0 || from != m->from || p->slot != (m->slot | CHECKPOINT_HISTORY) || p->total > page_bytes_max(d))
        return;
    if (p->total == PAGE_NONE_BYTES) {
        turn_away(d, true);
        return;
    }
    if (p->total != m->total) { /* the first piece, or the peer's journal changed */
        free(m->page);
        m->page = malloc((size_t)p->total);
        if (m->page == NULL) {
            turn_away(d, false);
            return;
        }
        m->total = p->total;
        chunk_begin(m, 0);
    }
    uint64_t at = p->offset - m->offset, i = at / CHECKPOINT_PIECE_BYTES;
    if (p->offset < m->offset || at >= chunk_size(m) || at % CHECKPOINT_PIECE_BYTES != 0 ||
        p->size != (chunk_size(m) - at < CHECKPOINT_PIECE_BYTES ? chunk_size(m) - at : CHECKPOINT_PIECE_BYTES))
        return;
    memcpy(m->page + p->offset, p->bytes, p->size);
    m->missing[i / 64] &= ~(UINT64_C(1) << (i % 64));
    m->heard_usec = driver_now();
    d->dirty = true;
}

/* --- what came --- */

/* One slot of it. False: it makes no sense, or is another log's. */
static bool take_entry(struct driver *d, slot_t slot, const uint8_t *entry, uint32_t size)
{
    struct note note = {.slot = slot, .time_usec = get_u64(entry + 8)};
    uint32_t type = get_u32(entry + 4);
    struct value *v;
    if (type != 0 && type != NOTE_HIDDEN && type != NOTE_TIME)
        return false;
    if (type != 0)
        note.type = type == NOTE_HIDDEN ? NOTE_HIDDEN : NOTE_TIME;
    if (values_copy(&d->values, entry + PAGE_ENTRY_BYTES, size, &replica_identity(d->replica)->cluster, &v) < 0)
        return false;
    int r = journal_mend_add(d->journal, slot, &note, v);
    values_unref(v);
    return r != -EINVAL;
}

static bool take_page(struct driver *d)
{
    struct mending *m = &d->mending;
    size_t end = (size_t)m->total - PAGE_HASH_BYTES, at = PAGE_HEAD_BYTES;
    slot_t slot = m->slot, next, last;
    if (m->total < PAGE_HEAD_BYTES + PAGE_HASH_BYTES || get_u64(m->page) != slot)
        return false;
    struct hash128 hash = hash_bytes(&replica_identity(d->replica)->cluster, m->page, end);
    if (memcmp(hash.bytes, m->page + end, PAGE_HASH_BYTES) != 0)
        return false;
    while (at < end && journal_mend_slots(d->journal, &next, &last) && next == slot) {
        uint32_t size = end - at > PAGE_ENTRY_BYTES ? get_u32(m->page + at) : 0;
        if (size == 0 || size > end - at - PAGE_ENTRY_BYTES || !take_entry(d, slot++, m->page + at, size))
            return false;
        at += PAGE_ENTRY_BYTES + (size_t)size;
    }
    d->appended = true;
    return slot > m->slot;
}

bool driver_mend_work(struct driver *d, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    slot_t first, last;
    if (d->closing)
        return false;
    bool more = journal_rot_work(d->journal);
    d->appended |= more; /* perhaps the journal got something to do */
    if (!journal_mend_slots(d->journal, &first, &last)) {
        forget_page(m);
        m->tried = m->lacking = 0;
        return more;
    }
    if (m->slot != first) {
        begin(d, first, now_usec);
    } else if (is_chunk_whole(m) && m->offset + chunk_size(m) < m->total) {
        chunk_begin(m, m->offset + chunk_size(m));
        return true;
    } else if (is_chunk_whole(m)) {
        if (take_page(d)) {
            forget_page(m);
            m->tried = m->lacking = 0;
        } else {
            log_limited(LOG_KIND_MEND, LOG_LEVEL_ERROR,
                        "journal: replica %u's slots from %" PRIu64 " on are not what stands here, or make no sense",
                        m->from, first);
            turn_away(d, true);
        }
        return true;
    } else if (now_usec - m->heard_usec >= SILENCE_USEC) {
        turn_away(d, false);
    } else if (now_usec >= m->ask_usec) {
        ask(d, now_usec);
    }
    return more;
}

uint64_t driver_mend_next_usec(const struct driver *d)
{
    return d->mending.slot != 0 ? d->mending.ask_usec : UINT64_MAX;
}

void driver_mend_free(struct driver *d)
{
    forget_page(&d->mending);
}

/* --- what is lost --- */

static bool take_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)record, (void)bytes, (void)size;
    return true;
}

/* Nothing comes of it: what no checkpoint will cover either, since this replica cannot go on but from a peer's. */
static bool is_given_up(const struct driver *d, const struct journal_rot *k)
{
    return k->state == JOURNAL_ROT_STUCK || (k->state == JOURNAL_ROT_OPEN && driver_install_obsoletes(d) != 0 &&
                                             k->covered_by > replica_chosen(d->replica));
}

static bool is_lost(struct driver *d, slot_t slot)
{
    const struct mending *m = &d->mending;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    size_t n = journal_rot(d->journal, rot);
    bool given_up = false;
    for (size_t i = 0; i < n; i++)
        given_up |= is_given_up(d, &rot[i]) && slot >= rot[i].first && slot <= rot[i].last;
    for (size_t i = 0; i < m->n_gone; i++)
        given_up |= slot >= m->gone[i].first && slot <= m->gone[i].last;
    return given_up && journal_read(d->journal, slot, slot, 1, 1, take_record, NULL) < 0;
}

void driver_mend_skip(struct driver *d, slot_t until)
{
    slot_t flushed = chatlog_flushed(d->chatlog), last = flushed;
    if (d->mending.n_rot == 0)
        return;
    while (last < until && last < flushed + SKIP_SLOTS_MAX && is_lost(d, last + 1))
        last++;
    if (last > flushed)
        driver_skip_flush_to(d, last);
}

/* --- telling, and looking for more --- */

/* Each segment as it is found, and where nothing comes of it; but not at every attempt. */
static void tell_one(struct mending *m, struct journal_rot *k)
{
    char text[ROT_TEXT_MAX + 1];
    const struct journal_rot *before = NULL;
    for (size_t i = 0; i < m->n_rot; i++)
        if (m->rot[i].segment == k->segment)
            before = &m->rot[i];
    if (before != NULL && (k->state == before->state || k->state == JOURNAL_ROT_FOUND ||
                           (k->state == JOURNAL_ROT_MENDING && before->state != JOURNAL_ROT_FOUND))) {
        k->state = before->state;
        return;
    }
    if (before == NULL)
        m->again_wait_usec = AGAIN_USEC;
    if (k->state == JOURNAL_ROT_FOUND)
        return;
    rot_describe(k, text);
    log_limited(LOG_KIND_MEND, LOG_LEVEL_WARNING, "journal: %s", text);
}

static void tell(struct driver *d)
{
    struct mending *m = &d->mending;
    struct journal_rot now[JOURNAL_ROT_MAX];
    struct journal_stats stats;
    struct journal_checkpoint newest;
    size_t n = journal_rot(d->journal, now);
    if (n == 0 && m->n_rot == 0)
        return;
    journal_checkpoint_newest(d->journal, &newest);
    for (size_t i = 0; i < n; i++) {
        if (now[i].state == JOURNAL_ROT_OPEN && now[i].covered_by <= newest.slot)
            m->again_usec = 0;
        else if (now[i].state == JOURNAL_ROT_OPEN && now[i].covered_by <= replica_chosen(d->replica))
            driver_checkpoint_cover(d, now[i].covered_by);
        tell_one(m, &now[i]);
    }
    memcpy(m->rot, now, n * sizeof(now[0]));
    m->n_rot = n;
    journal_stats(d->journal, &stats);
    if (stats.segments_mended > m->mended)
        log_line(LOG_LEVEL_NOTICE, "journal: what rotted in %" PRIu64 " segment(s) was fetched again, and is readable",
                 stats.segments_mended - m->mended);
    m->mended = stats.segments_mended;
}

static void scrub(struct driver *d, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    uint64_t pass_usec = d->options.scrub_usec != 0 ? d->options.scrub_usec : SCRUB_USEC;
    struct journal_stats stats;
    if (now_usec < m->scrub_usec)
        return;
    if (m->scrub_bytes == 0) {
        journal_stats(d->journal, &stats);
        m->scrub_bytes = stats.bytes;
        m->scrub_usec = now_usec;
    }
    for (int i = 0; i < SCRUB_STRETCHES_MAX && m->scrub_usec <= now_usec; i++) {
        int64_t n = journal_scrub(d->journal);
        m->scrub_usec += n == 0 ? SCRUB_PAUSE_USEC : pass_usec / (m->scrub_bytes / (uint64_t)n + 1);
        if (n == 0)
            m->scrub_bytes = 0;
    }
    if (m->scrub_usec < now_usec) /* what was not done in time is not made up for */
        m->scrub_usec = now_usec;
}

void driver_mend_tick(struct driver *d, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    scrub(d, now_usec);
    tell(d);
    for (uint32_t i = 0; i < d->status.n_peers; i++) {
        int member = driver_find_member(d, d->status.peers[i].id);
        if (member >= 0 && (d->status.peers[i].linked || m->linked_usec[member] == 0))
            m->linked_usec[member] = now_usec;
    }
    if (m->n_linked < d->status.n_linked) { /* who comes back may have it */
        m->again_wait_usec = AGAIN_USEC;
        m->again_usec = 0;
    }
    m->n_linked = d->status.n_linked;
    if (m->n_rot == 0 || now_usec < m->again_usec)
        return;
    journal_rot_again(d->journal);
    d->dirty = true;
    m->again_usec = now_usec + m->again_wait_usec;
    if (m->again_wait_usec < AGAIN_MOST_USEC)
        m->again_wait_usec *= 2;
}
