#include "tests/fuzz/pages.h"

#include "journal/journal.h"
#include "paxos/bytes.h"
#include "paxos/checkpoint.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { HEAD_BYTES = 8, ENTRY_BYTES = 16, HASH_BYTES = 16, NOT_A_NOTE = 77, INVENTED_SIZE = VALUE_HEADER_SIZE };

static uint8_t *grow(struct page *p, size_t n)
{
    if (p->size + n > p->room) {
        p->room = 2 * (p->size + n);
        p->bytes = realloc(p->bytes, p->room);
        if (p->bytes == NULL)
            abort();
    }
    p->size += n;
    return p->bytes + p->size - n;
}

static void add_entry(struct page *p, uint32_t size, uint32_t type, uint64_t time_usec, const uint8_t *bytes,
                      uint32_t n)
{
    uint8_t *entry = grow(p, ENTRY_BYTES + (size_t)n);
    put_u32(entry, size);
    put_u32(entry + 4, type);
    put_u64(entry + 8, time_usec);
    memcpy(entry + ENTRY_BYTES, bytes, n);
}

/* As a COMMIT's note says it. */
static void add_true_entry(struct page *p, const struct log_slot *s)
{
    struct text_view v;
    uint32_t type = 0;
    text_view(s->chosen->bytes, &v);
    if (v.is_message && !s->visible)
        type = NOTE_HIDDEN;
    else if (v.is_message && s->time_usec != get_u64(s->chosen->bytes + 32))
        type = NOTE_TIME;
    add_entry(p, s->chosen->size, type, type == NOTE_TIME ? s->time_usec : 0, s->chosen->bytes, s->chosen->size);
}

static void add_fault(struct page *p, enum page_fault fault)
{
    static const uint8_t noop[INVENTED_SIZE] = {VALUE_NOOP}, nonsense[INVENTED_SIZE] = {0xfe, 1, 2, 3};
    if (fault == PAGE_EMPTY)
        add_entry(p, 0, 0, 0, noop, INVENTED_SIZE);
    else if (fault == PAGE_LONG)
        add_entry(p, UINT32_MAX - ENTRY_BYTES, 0, 0, noop, INVENTED_SIZE);
    else if (fault == PAGE_NOTE)
        add_entry(p, INVENTED_SIZE, NOT_A_NOTE, 0, noop, INVENTED_SIZE);
    else if (fault == PAGE_GARBAGE)
        add_entry(p, INVENTED_SIZE, 0, 0, nonsense, INVENTED_SIZE);
    else if (fault == PAGE_REST)
        memset(grow(p, 5), 9, 5);
}

void page_make(struct cluster *c, slot_t slot, uint32_t n, enum page_fault fault, struct page *ret)
{
    static const uint8_t noop[INVENTED_SIZE] = {VALUE_NOOP};
    const struct hash128 *cluster = &c->hosts[0].disk.identity.cluster;
    *ret = (struct page){.bytes = NULL};
    if (fault == PAGE_LACKING) {
        *grow(ret, 1) = 0;
        return;
    }
    put_u64(grow(ret, HEAD_BYTES), slot + (fault == PAGE_OTHER));
    if (fault == PAGE_SHORT)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const struct log_slot *s = observer_slot(c, slot + i);
        if (fault == PAGE_INVENTED || fault == PAGE_HASH)
            add_entry(ret, INVENTED_SIZE, i % 3, i, noop, INVENTED_SIZE);
        else if (s != NULL && s->applied)
            add_true_entry(ret, s);
    }
    add_fault(ret, fault);
    struct hash128 hash = hash_bytes(cluster, ret->bytes, ret->size);
    hash.bytes[0] ^= fault == PAGE_HASH;
    memcpy(grow(ret, HASH_BYTES), hash.bytes, HASH_BYTES);
}

bool page_of_checkpoint(struct cluster *c, struct host *h, struct page *ret, slot_t *ret_slot)
{
    struct journal_checkpoint newest;
    (void)c;
    if (!h->up)
        return false;
    world_enter(h);
    if (!journal_checkpoint_newest(h->journal, &newest))
        return false;
    *ret = (struct page){.room = CHECKPOINT_CHUNK_BYTES};
    ret->bytes = malloc(ret->room);
    if (ret->bytes == NULL)
        abort();
    int64_t n = journal_checkpoint_read(h->journal, newest.slot, 0, ret->bytes, ret->room);
    if (n <= 0) {
        free(ret->bytes);
        return false;
    }
    ret->size = (size_t)n;
    *ret_slot = newest.slot;
    return true;
}

void page_mend_checkpoint(struct cluster *c, struct page *p)
{
    struct hash128 sum = c->hosts[0].disk.identity.cluster;
    if (p->size < HASH_BYTES)
        return;
    const size_t end = p->size - HASH_BYTES;
    for (size_t at = 0, n = CHECKPOINT_BLOCK_BYTES; n == CHECKPOINT_BLOCK_BYTES; at += n) {
        n = end - at < CHECKPOINT_BLOCK_BYTES ? end - at : CHECKPOINT_BLOCK_BYTES;
        sum = hash_bytes(&sum, &p->bytes[at], n);
    }
    memcpy(&p->bytes[end], sum.bytes, HASH_BYTES);
}
