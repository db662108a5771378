/* What is shown when a rule is broken: the seed, the last events in columns, and how to see it again. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "paxos/invariant.h"
#include "wire/datagram.h"

enum { REPLAY_MAX = 127 };

/* What runs now, for the hooks that know no cluster. */
static struct cluster *current;
static char replay[REPLAY_MAX + 1];
static void (*failed)(void);

/* The sanitizers call these. */
void __asan_on_error(void);
void __ubsan_on_report(void);

static void dump(const struct cluster *c)
{
    if (!c)
        return;
    fprintf(stderr, "seed %" PRIu64 ", %u hosts, alpha %u, dedup %u, streams %u, %" PRIu64 " steps\n", c->options.seed,
            c->options.n_hosts, c->options.alpha, c->options.dedup_slots, c->options.streams_max, c->steps);
    if (c->trace) {
        fprintf(stderr, "%12s %4s %s\n", "SECONDS", "HOST", "EVENT");
        size_t first = c->n_trace > CLUSTER_TRACE_LINES ? c->n_trace - CLUSTER_TRACE_LINES : 0;
        for (size_t i = first; i < c->n_trace; i++)
            fprintf(stderr, "%s\n", c->trace[i % CLUSTER_TRACE_LINES]);
    }
    if (replay[0])
        fprintf(stderr, "To see it again: %s\n", replay);
}

void cluster_set_current(struct cluster *c)
{
    current = c;
}

void cluster_set_failed(void (*call)(void))
{
    failed = call;
}

static void end(void)
{
    fflush(NULL);
    if (failed)
        failed();
}

void cluster_set_replay(const char *command, uint64_t seed)
{
    snprintf(replay, sizeof(replay), "%s %" PRIu64, command, seed);
}

void cluster_fail(struct cluster *c, const char *format, ...)
{
    dump(c);
    fprintf(stderr, "FAILED at %.6f s: ", (double)(c->now_usec - 1000 * SECOND) / 1e6);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    end();
    _exit(1);
}

_Noreturn void invariant_failed(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    dump(current);
    fprintf(stderr, "FAILED: %s:%d: invariant %s (%" PRIu64 ", %" PRIu64 ")\n", file, line, what, a, b);
    end();
    signal(SIGABRT, SIG_DFL); /* all is said */
    abort();
}

void __asan_on_error(void)
{
    dump(current);
}

void __ubsan_on_report(void)
{
    dump(current);
}

void cluster_trace_add(struct cluster *c, int host, const char *format, ...)
{
    char *line = c->trace[c->n_trace++ % CLUSTER_TRACE_LINES];
    int n = snprintf(line, CLUSTER_TRACE_WIDTH, "%12.6f %4d ", (double)(c->now_usec - 1000 * SECOND) / 1e6, host);
    if (host < 0)
        n = snprintf(line, CLUSTER_TRACE_WIDTH, "%12.6f    - ", (double)(c->now_usec - 1000 * SECOND) / 1e6);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + n, CLUSTER_TRACE_WIDTH - (size_t)n, format, arguments);
    va_end(arguments);
    if (c->options.trace_print)
        printf("%s\n", line);
}

static void describe_pieces(char *to, size_t size, const struct datagram_message *d)
{
    if (d->n_pieces == 0)
        snprintf(to, size, "no slots");
    else
        snprintf(to, size, "%u pieces of slots %lu-%lu", d->n_pieces, d->pieces[0].slot,
                 d->pieces[d->n_pieces - 1].slot);
}

#define BALLOT       "%lu.%u"
#define BALLOT_OF(b) (b).round, (b).id

static void describe_other(const struct message *m, char *to, size_t size)
{
    const struct checkpoint_fetch *f = &m->checkpoint_fetch;
    const struct checkpoint_piece *p = &m->checkpoint_piece;
    if (m->type == MESSAGE_CHECKPOINT_FETCH)
        snprintf(to, size, "CHECKPOINT fetch slot %lu offset %lu", f->slot, f->offset);
    else if (m->type == MESSAGE_CHECKPOINT_PIECE)
        snprintf(to, size, "CHECKPOINT piece slot %lu offset %lu of %lu", p->slot, p->offset, p->total);
    else
        snprintf(to, size, "message %d", (int)m->type);
}

static void describe(const struct datagram_message *d, char *to, size_t size)
{
    const struct message *m = &d->message;
    char list[64];
    describe_pieces(list, sizeof(list), d);
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        snprintf(to, size, "HB         own " BALLOT " follows " BALLOT "%s%s commit %lu",
                 BALLOT_OF(m->heartbeat.ballot), BALLOT_OF(m->heartbeat.followed),
                 m->heartbeat.leading ? " leading" : "", m->heartbeat.happy ? " happy" : "", m->heartbeat.commit);
        break;
    case MESSAGE_PREPARE:
        snprintf(to, size, "PREPARE    " BALLOT " from %lu page %u", BALLOT_OF(m->prepare.ballot), m->prepare.from,
                 m->prepare.page);
        break;
    case MESSAGE_PROMISE:
        snprintf(to, size, "PROMISE    " BALLOT " from %lu page %u%s chosen %lu, %u entries",
                 BALLOT_OF(m->promise.ballot), m->promise.from, m->promise.page, m->promise.last ? " last" : "",
                 m->promise.chosen, m->promise.n_entries);
        break;
    case MESSAGE_ACCEPT:
        snprintf(to, size, "ACCEPT     " BALLOT " commit %lu, %s", BALLOT_OF(m->accept.ballot), m->accept.commit, list);
        break;
    case MESSAGE_ACCEPTED:
        snprintf(to, size, "ACCEPTED   " BALLOT " base %lu words %u first %016lx chosen %lu",
                 BALLOT_OF(m->accepted.ballot), m->accepted.base, m->accepted.n_words,
                 m->accepted.n_words ? m->accepted.words[0] : 0, m->accepted.chosen);
        break;
    case MESSAGE_NACK:
        snprintf(to, size, "NACK       " BALLOT " promised " BALLOT, BALLOT_OF(m->nack.rejected),
                 BALLOT_OF(m->nack.promised));
        break;
    case MESSAGE_FETCH:
        snprintf(to, size, "FETCH      %s %lu-%lu", m->fetch.by_hash ? "body" : "chosen", m->fetch.from,
                 m->fetch.until);
        break;
    case MESSAGE_CHOSEN:
        snprintf(to, size, "CHOSEN     %s", list);
        break;
    case MESSAGE_BODY:
        snprintf(to, size, "BODY       %lu " BALLOT, m->body.slot, BALLOT_OF(m->body.ballot));
        break;
    case MESSAGE_SUBMIT:
        snprintf(to, size, "SUBMIT     %u values", d->n_pieces);
        break;
    case MESSAGE_STATE:
        snprintf(to, size, "STATE      status %d", (int)m->state.status);
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        snprintf(to, size, "%-10s " BALLOT, m->type == MESSAGE_CONFIRM ? "CONFIRM" : "CONFIRMED",
                 BALLOT_OF(m->confirm.ballot));
        break;
    case MESSAGE_POSITION:
    case MESSAGE_ANSWER:
        snprintf(to, size, "%-10s slot %lu", m->type == MESSAGE_POSITION ? "POSITION" : "ANSWER", m->position.slot);
        break;
    case MESSAGE_FLUSH:
    case MESSAGE_FLUSHED:
        snprintf(to, size, "%-10s slot %lu", m->type == MESSAGE_FLUSH ? "FLUSH" : "FLUSHED",
                 m->type == MESSAGE_FLUSH ? m->flush.upto : m->flushed.slot);
        break;
    case MESSAGE_TRANSFER:
        snprintf(to, size, "TRANSFER   " BALLOT " to %u", BALLOT_OF(m->transfer.ballot), m->transfer.target);
        break;
    default:
        describe_other(m, to, size);
        break;
    }
}

void cluster_trace_packet(struct cluster *c, int host, const char *what, int peer, const struct packet *p)
{
    static struct datagram_message m;
    struct datagram_reader reader;
    struct datagram_header header;
    char text[120];
    if (!c->options.trace)
        return;
    if (packet_open(p, &reader, &header) != DATAGRAM_OK) {
        cluster_trace_add(c, host, "%s %3d   (spoiled)", what, peer);
        return;
    }
    if (header.kind != DATAGRAM_PLAIN && p->plain_size == 0)
        cluster_trace_add(c, host, "%s %3d   HANDSHAKE  %d", what, peer, (int)header.kind);
    while (datagram_next(&reader, &header, UINT32_MAX, &m) > 0) {
        describe(&m, text, sizeof(text));
        cluster_trace_add(c, host, "%s %3d   %s", what, peer, text);
    }
}
