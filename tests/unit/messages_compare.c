#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/messages.h"

static void same_ballot(struct ballot a, struct ballot b)
{
    assert_true(ballot_equal(a, b));
}

static void same_hash(struct hash128 a, struct hash128 b)
{
    assert_memory_equal(a.bytes, b.bytes, sizeof a.bytes);
}

#define SAME(field) assert_int_equal(a->field, b->field)

static void same_heartbeat(const struct heartbeat *a, const struct heartbeat *b)
{
    same_ballot(a->ballot, b->ballot);
    same_ballot(a->followed, b->followed);
    SAME(leading);
    SAME(happy);
    SAME(silent);
    SAME(seq);
    SAME(commit);
    same_hash(a->chain, b->chain);
    SAME(space_bytes);
    SAME(n_echoes);
    for (uint32_t i = 0; i < a->n_echoes; i++) {
        SAME(echoes[i].id);
        SAME(echoes[i].seq);
        SAME(echoes[i].age_usec);
    }
}

static void same_promise(const struct promise *a, const struct promise *b)
{
    same_ballot(a->ballot, b->ballot);
    SAME(from);
    SAME(page);
    SAME(page_slots);
    SAME(last);
    SAME(chosen);
    SAME(n_entries);
    for (uint32_t i = 0; i < a->n_entries; i++) {
        SAME(entries[i].slot);
        same_ballot(a->entries[i].ballot, b->entries[i].ballot);
        SAME(entries[i].chosen);
        SAME(entries[i].size);
        same_hash(a->entries[i].hash, b->entries[i].hash);
    }
}

static void same_accepted(const struct accepted *a, const struct accepted *b)
{
    same_ballot(a->ballot, b->ballot);
    SAME(base);
    SAME(n_words);
    SAME(chosen);
    SAME(space_bytes);
    for (uint32_t i = 0; i < a->n_words; i++)
        SAME(words[i]);
}

static void same_fetch(const struct fetch *a, const struct fetch *b)
{
    SAME(by_hash);
    SAME(from);
    SAME(until);
    same_ballot(a->ballot, b->ballot);
    same_hash(a->hash, b->hash);
    SAME(bytes_max);
}

static void same_state(const struct state *a, const struct state *b)
{
    SAME(nonce);
    SAME(answer);
    SAME(status);
    same_hash(a->cluster, b->cluster);
    same_hash(a->bootstrap, b->bootstrap);
}

static void same_info(const struct info *a, const struct info *b)
{
    assert_string_equal(a->version, b->version);
    SAME(n_drops);
    for (uint32_t i = 0; i < a->n_drops; i++) {
        SAME(drops[i].rate);
        SAME(drops[i].direction);
        SAME(drops[i].peer);
        SAME(drops[i].left_ms);
    }
}

static void same_flushed(const struct flushed *a, const struct flushed *b)
{
    SAME(nonce);
    SAME(ok);
    SAME(slot);
    SAME(messages);
    assert_string_equal(a->text, b->text);
}

static void same_checkpoint(const struct message *a, const struct message *b)
{
    if (a->type == MESSAGE_CHECKPOINT_FETCH) {
        SAME(checkpoint_fetch.slot);
        SAME(checkpoint_fetch.offset);
        for (uint32_t i = 0; i < CHECKPOINT_WORDS; i++)
            SAME(checkpoint_fetch.missing[i]);
        return;
    }
    SAME(checkpoint_piece.slot);
    SAME(checkpoint_piece.total);
    SAME(checkpoint_piece.offset);
    SAME(checkpoint_piece.size);
    assert_memory_equal(a->checkpoint_piece.bytes, b->checkpoint_piece.bytes, a->checkpoint_piece.size);
}

void message_expect_same(const struct message *a, const struct message *b)
{
    SAME(type);
    switch (a->type) {
    case MESSAGE_HEARTBEAT:
        same_heartbeat(&a->heartbeat, &b->heartbeat);
        break;
    case MESSAGE_PREPARE:
        same_ballot(a->prepare.ballot, b->prepare.ballot);
        SAME(prepare.from);
        SAME(prepare.page);
        break;
    case MESSAGE_PROMISE:
        same_promise(&a->promise, &b->promise);
        break;
    case MESSAGE_ACCEPT:
        same_ballot(a->accept.ballot, b->accept.ballot);
        SAME(accept.commit);
        break;
    case MESSAGE_ACCEPTED:
        same_accepted(&a->accepted, &b->accepted);
        break;
    case MESSAGE_NACK:
        same_ballot(a->nack.rejected, b->nack.rejected);
        same_ballot(a->nack.promised, b->nack.promised);
        break;
    case MESSAGE_FETCH:
        same_fetch(&a->fetch, &b->fetch);
        break;
    case MESSAGE_CHOSEN:
        SAME(chosen.first_kept);
        break;
    case MESSAGE_BODY:
        SAME(body.slot);
        same_ballot(a->body.ballot, b->body.ballot);
        break;
    case MESSAGE_SUBMIT:
        break;
    case MESSAGE_STATE:
        same_state(&a->state, &b->state);
        break;
    case MESSAGE_POSITION:
    case MESSAGE_ANSWER:
        SAME(position.nonce);
        SAME(position.slot);
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        same_ballot(a->confirm.ballot, b->confirm.ballot);
        SAME(confirm.nonce);
        break;
    case MESSAGE_TRANSFER:
        same_ballot(a->transfer.ballot, b->transfer.ballot);
        SAME(transfer.target);
        break;
    case MESSAGE_INFO:
        same_info(&a->info, &b->info);
        break;
    case MESSAGE_FLUSH:
        SAME(flush.nonce);
        SAME(flush.upto);
        break;
    case MESSAGE_FLUSHED:
        same_flushed(&a->flushed, &b->flushed);
        break;
    case MESSAGE_CHECKPOINT_FETCH:
    case MESSAGE_CHECKPOINT_PIECE:
        same_checkpoint(a, b);
        break;
    }
}
