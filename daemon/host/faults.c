#include "host/faults.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paxos/prng.h"

enum { USEC_PER_SEC = 1000000 };

struct faults {
    struct prng prng;
    size_t n;
    struct fault list[FAULTS_MAX];
};

struct faults *faults_new(uint8_t rate, uint64_t seed)
{
    struct faults *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    prng_seed(&f->prng, seed);
    if (rate > 0)
        f->list[f->n++] =
            (struct fault){.rate = rate > 100 ? 100 : rate, .direction = FAULT_OUT, .peer = REPLICA_ID_NONE};
    return f;
}

void faults_free(struct faults *f)
{
    free(f);
}

static void expire(struct faults *f, uint64_t now_usec)
{
    size_t kept = 0;

    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].until_usec == 0 || f->list[i].until_usec > now_usec)
            f->list[kept++] = f->list[i];
    f->n = kept;
}

/* When it ends; one that would end beyond the clock's range does so at the range's end. */
static uint64_t until(uint64_t seconds, uint64_t now_usec)
{
    uint64_t end;

    if (seconds == 0)
        return 0;
    if (__builtin_mul_overflow(seconds, (uint64_t)USEC_PER_SEC, &end) || __builtin_add_overflow(end, now_usec, &end))
        return UINT64_MAX;
    return end;
}

int faults_set(struct faults *f, uint8_t rate, enum fault_direction direction, replica_id_t peer, uint64_t seconds,
               uint64_t now_usec)
{
    struct faults next = {.prng = f->prng};

    if (rate > 100 || direction < FAULT_IN || direction > FAULT_BOTH)
        return -EINVAL;
    expire(f, now_usec);
    for (size_t i = 0; i < f->n; i++) {
        struct fault old = f->list[i];
        if (peer == REPLICA_ID_NONE || old.peer == peer)
            old.direction &= ~(unsigned)direction;
        if (old.direction != 0)
            next.list[next.n++] = old;
    }
    if (rate > 0) {
        if (next.n == FAULTS_MAX)
            return -ENOSPC;
        next.list[next.n++] =
            (struct fault){.rate = rate, .direction = direction, .peer = peer, .until_usec = until(seconds, now_usec)};
    }
    *f = next;
    return 0;
}

bool faults_drop(struct faults *f, enum fault_direction in_or_out, replica_id_t peer, uint64_t now_usec)
{
    bool drop = false;

    if (f->n == 0)
        return false;
    expire(f, now_usec);
    for (size_t i = 0; i < f->n; i++) {
        const struct fault *x = &f->list[i];
        if ((x->direction & in_or_out) && (x->peer == REPLICA_ID_NONE || x->peer == peer) &&
            prng_below(&f->prng, 100) < x->rate)
            drop = true;
    }
    return drop;
}

size_t faults_list(struct faults *f, uint64_t now_usec, struct fault *ret)
{
    expire(f, now_usec);
    memcpy(ret, f->list, f->n * sizeof *ret);
    return f->n;
}

void faults_describe(struct faults *f, uint64_t now_usec, char ret[FAULTS_TEXT_MAX])
{
    static const char *const ways[] = {[FAULT_IN] = "in", [FAULT_OUT] = "out", [FAULT_BOTH] = "in and out"};
    size_t used = 0;

    expire(f, now_usec);
    ret[0] = '\0';
    for (size_t i = 0; i < f->n; i++) {
        const struct fault *x = &f->list[i];
        char one[48], peer[16] = "";
        if (x->peer != REPLICA_ID_NONE)
            snprintf(peer, sizeof peer, " (peer %u)", x->peer);
        snprintf(one, sizeof one, "%s%u%% %s%s", i ? ", " : "", x->rate, ways[x->direction], peer);
        if (used + strlen(one) + sizeof "..." > FAULTS_TEXT_MAX) {
            memcpy(ret + used, "...", sizeof "...");
            return;
        }
        memcpy(ret + used, one, strlen(one) + 1);
        used += strlen(one);
    }
}
