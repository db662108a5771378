/* What rots in the journal of this replica, got again from the peers.
 *
 * What a damaged stretch held is asked of a peer by the page: chosen values and their notes from a slot on, in pieces,
 * as a checkpoint's are. A page is the slot u64; for each slot from there on the value's size u32, the note's type u32
 * and time u64, the value; and a hash of it all by the cluster's id. It takes what fits HISTORY_PAGE_BYTES, one slot at
 * least; a page of one byte says that the slot cannot be read there. The values are looked through, and compared with
 * what can still be read here, before the journal gets them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "paxos/bytes.h"

enum {
    HISTORY_PAGE_BYTES = 128 << 10,
    PAGE_HEAD_BYTES = 8,
    PAGE_HASH_BYTES = 16,
    PAGE_ENTRY_BYTES = 16,
    PAGE_SLOTS_MAX = 4096,
    PAGE_NONE_BYTES = 1,
    ASK_USEC = 30000,       /* again, where pieces are missing */
    SILENCE_USEC = 1000000, /* then another peer is asked      */
};

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

/* The page from `slot` on. The size is told by the first piece. */
static void begin(struct driver *d, slot_t slot, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    forget_page(m);
    if (!choose_peer(d, slot)) {
        driver_rot_note_gone(d, slot, now_usec);
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
