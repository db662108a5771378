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
    PAGE_BYTES_MAX = HISTORY_PAGE_BYTES + PAGE_HEAD_BYTES + PAGE_HASH_BYTES + PAGE_ENTRY_BYTES + VALUE_BYTES_MAX,
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
    struct page page = {.room = PAGE_BYTES_MAX, .size = PAGE_HEAD_BYTES, .next = slot};
    d->served.next_usec = driver_now() + SERVE_USEC;
    page.bytes = malloc(page.room);
    if (page.bytes == NULL) /* it asks again */
        return;
    if (!fill_page(d, slot, &page))
        driver_chunk_send(d, from, &first, PAGE_NONE_BYTES, none, PAGE_NONE_BYTES);
    else if (q->offset < page.size)
        driver_chunk_send(d, from, q, page.size, page.bytes + q->offset, page.size - q->offset);
    free(page.bytes);
}

/* --- asking --- */

static void forget_page(struct mending *m)
{
    free(m->page);
    m->page = NULL;
    m->slot = 0;
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

/* The page from `slot` on: its first piece, which tells the size. */
static void begin(struct driver *d, slot_t slot, uint64_t now_usec)
{
    struct mending *m = &d->mending;
    forget_page(m);
    if (!choose_peer(d, slot)) {
        driver_rot_note_gone(d, slot, m->lacking, now_usec);
        m->tried = m->lacking = 0;
        journal_mend_put_off(d->journal);
        d->dirty = true;
        return;
    }
    m->slot = slot;
    m->chunk.heard_usec = now_usec;
    driver_chunk_begin(&m->chunk, PAGE_NONE_BYTES, 0, 0);
    driver_chunk_ask(d, &m->chunk, m->from, slot | CHECKPOINT_HISTORY, now_usec);
}

void driver_mend_piece(struct driver *d, replica_id_t from, const struct checkpoint_piece *p)
{
    struct mending *m = &d->mending;
    if (m->slot == 0 || from != m->from || p->slot != (m->slot | CHECKPOINT_HISTORY) || p->total > PAGE_BYTES_MAX)
        return;
    if (p->total == PAGE_NONE_BYTES) {
        turn_away(d, true);
        return;
    }
    if (p->total != m->chunk.total) { /* the first piece, or the peer's journal changed */
        free(m->page);
        m->page = malloc((size_t)p->total);
        if (m->page == NULL) {
            turn_away(d, false);
            return;
        }
        driver_chunk_begin(&m->chunk, p->total, 0, 0);
    }
    driver_chunk_take(d, &m->chunk, p, m->page + m->chunk.offset);
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
    size_t end = (size_t)m->chunk.total - PAGE_HASH_BYTES, at = PAGE_HEAD_BYTES;
    slot_t slot = m->slot, next, last;
    if (m->chunk.total < PAGE_HEAD_BYTES + PAGE_HASH_BYTES || get_u64(m->page) != slot)
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
    } else if (driver_chunk_is_whole(&m->chunk) && driver_chunk_next(&m->chunk, 0)) {
        return true;
    } else if (driver_chunk_is_whole(&m->chunk)) {
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
    } else if (now_usec - m->chunk.heard_usec >= CHUNK_SILENCE_USEC) {
        turn_away(d, false);
    } else {
        driver_chunk_ask(d, &m->chunk, m->from, m->slot | CHECKPOINT_HISTORY, now_usec);
    }
    return more;
}

uint64_t driver_mend_next_usec(const struct driver *d)
{
    return d->mending.slot != 0 ? d->mending.chunk.ask_usec : UINT64_MAX;
}

void driver_mend_free(struct driver *d)
{
    forget_page(&d->mending);
}
