/* What is answered, in the place of a peer. */
#include "host/driver_internal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/intrusion.h"
#include "tests/fuzz/pages.h"
#include "tests/sim/world.h"

enum { CHECKPOINT_ENDS = 0xff, CHECKPOINT_LATER = 0x7f }; /* of wrong_checkpoint.bits: before its end; slot */

/* What is answered next, and how. */
struct wrong_page {
    bool armed;
    uint8_t n, cut;
    enum page_fault fault;
};

struct wrong_checkpoint {
    bool armed;
    uint16_t at;
    uint8_t bits, cut;
};

static struct {
    struct wrong_page page;
    struct wrong_checkpoint checkpoint;
} world;

/* In pieces: some are missing, doubled, or none of it. */
static void say_pieces(struct cluster *c, uint32_t from, struct host *to, slot_t slot, const struct page *page,
                       uint8_t cut)
{
    struct message m = {.type = MESSAGE_CHECKPOINT_PIECE, .from_life = c->hosts[from].disk.identity.life};
    struct checkpoint_piece *p = &m.checkpoint_piece;
    for (size_t at = 0, i = 0; at < page->size; at += CHECKPOINT_PIECE_BYTES, i++) {
        size_t left = page->size - at;
        *p = (struct checkpoint_piece){.slot = slot, .total = page->size, .offset = at, .bytes = page->bytes + at};
        p->size = (uint32_t)(left < CHECKPOINT_PIECE_BYTES ? left : CHECKPOINT_PIECE_BYTES);
        if ((cut & 1) != 0 && i % 8 == cut / 32)
            continue;
        if ((cut & 2) != 0 && i % 8 == cut / 32)
            intrusion_say(c, from, to, &m, GUARD_NONE);
        if ((cut & 4) != 0 && i % 8 == cut / 32 && p->size > 1)
            p->size--;
        if ((cut & 8) != 0 && i % 8 == cut / 32 && p->offset + p->size < p->total)
            p->offset++;
        if ((cut & 16) != 0 && i % 8 == cut / 32)
            p->total++;
        intrusion_say(c, from, to, &m, GUARD_NONE);
    }
}

static void say_page(struct cluster *c, struct host *asker, struct host *peer, slot_t slot)
{
    const struct wrong_page *w = &world.page;
    enum page_fault fault = w->fault == PAGE_INVENTED && !c->options.liar ? PAGE_HASH : w->fault;
    struct page page;
    page_make(c, slot & ~CHECKPOINT_HISTORY, w->n, fault, &page);
    say_pieces(c, peer->index, asker, slot, &page, w->cut);
    free(page.bytes);
}

static void say_checkpoint(struct cluster *c, struct host *asker, struct host *peer)
{
    const struct wrong_checkpoint *w = &world.checkpoint;
    struct page page;
    slot_t slot;
    if (!page_of_checkpoint(c, peer, &page, &slot))
        return;
    page.bytes[w->at % page.size] ^= w->bits;
    if (w->bits == CHECKPOINT_ENDS)
        page.size -= w->at % page.size;
    if (c->options.liar && w->at % page.size >= PAGE_CHECKPOINT_HEAD_BYTES)
        page_mend_checkpoint(c, &page);
    say_pieces(c, peer->index, asker, slot + (w->bits == CHECKPOINT_LATER), &page, w->cut);
    free(page.bytes);
}

void answers_give(struct host *asker, struct host *peer, slot_t slot)
{
    struct cluster *c = asker->cluster;
    bool is_page = (slot & CHECKPOINT_HISTORY) != 0;
    bool *armed = is_page ? &world.page.armed : &world.checkpoint.armed;
    if (!asker->up || !*armed || (c->options.liar && peer->index != INTRUSION_LIAR))
        return;
    *armed = false;
    if (is_page)
        say_page(c, asker, peer, slot);
    else
        say_checkpoint(c, asker, peer);
    world_enter(peer); /* who goes on */
}

void answers_take_page(struct fuzz_input *in)
{
    struct wrong_page *w = &world.page;
    w->armed = true;
    w->n = fuzz_u8(in);
    w->fault = (enum page_fault)(fuzz_u8(in) % PAGE_FAULTS);
    w->cut = fuzz_u8(in);
}

void answers_take_checkpoint(struct fuzz_input *in)
{
    struct wrong_checkpoint *w = &world.checkpoint;
    w->armed = true;
    w->at = fuzz_u16(in);
    w->bits = fuzz_u8(in);
    w->cut = fuzz_u8(in);
}

void answers_begin(void)
{
    memset(&world, 0, sizeof world);
}
