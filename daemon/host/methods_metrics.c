/* Metrics: every counter there is, in the OpenMetrics text format.
 * Source: OpenMetrics 1.0 (a counter's sample ends in _total, a unit ends the name, "# EOF" ends the text). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/log.h"
#include "host/methods.h"

__attribute__((format(printf, 2, 3))) static void print(struct varlink_writer *w, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    varlink_write_bytes(w, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void head(struct varlink_writer *w, const char *name, const char *type, const char *unit, const char *help)
{
    print(w, "# TYPE mpaxos_%s %s\n", name, type);
    if (unit != NULL)
        print(w, "# UNIT mpaxos_%s %s\n", name, unit);
    print(w, "# HELP mpaxos_%s %s\n", name, help);
}

static void counter(struct varlink_writer *w, const char *name, const char *unit, uint64_t v, const char *help)
{
    head(w, name, "counter", unit, help);
    print(w, "mpaxos_%s_total %" PRIu64 "\n", name, v);
}

static void gauge(struct varlink_writer *w, const char *name, const char *unit, uint64_t v, const char *help)
{
    head(w, name, "gauge", unit, help);
    print(w, "mpaxos_%s %" PRIu64 "\n", name, v);
}

static void print_seconds(struct varlink_writer *w, uint64_t usec)
{
    print(w, "%" PRIu64 ".%06" PRIu64 "\n", usec / 1000000, usec % 1000000);
}

static void print_replica(struct varlink_writer *w, const struct driver_status *s)
{
    const struct replica_status *r = &s->replica;
    const struct replica_counters *n = &r->counters;
    gauge(w, "quorum", NULL, r->quorum, "1 where a majority is linked and a leader known.");
    gauge(w, "leading", NULL, r->role == ROLE_LEADER, "1 where this replica leads.");
    gauge(w, "linked_replicas", NULL, r->n_linked, "Replicas linked to this one, itself included.");
    gauge(w, "ballot_round", NULL, r->ballot.round, "Round of the leader's ballot.");
    gauge(w, "chosen_slot", NULL, r->chosen, "Slot up to which all are known to be chosen.");
    gauge(w, "accepted_slot", NULL, r->accepted, "Highest slot accepted.");
    gauge(w, "flushed_slot", NULL, s->flushed, "Slot up to which the chat log file has the messages.");
    gauge(w, "first_kept_slot", NULL, s->first_kept, "Oldest slot kept.");
    gauge(w, "messages", NULL, s->messages, "Messages in the chosen prefix.");
    gauge(w, "slots_without_message", NULL, s->noops, "Slots of the chosen prefix that hold no message.");
    gauge(w, "submissions_open", NULL, r->n_submissions, "Submits of local clients that are not settled.");
    gauge(w, "lagging", NULL, r->lagging, "1 where this replica is far behind its peers.");
    gauge(w, "diverged", NULL, r->diverged, "1 where this replica's log differs from a peer's.");
    gauge(w, "quarantined", NULL, r->identity == IDENTITY_QUARANTINED, "1 where this replica lost votes.");
    gauge(w, "repairing_until_slot", NULL, r->silent_until, "Slot from which on it votes again; 0: it does.");
    counter(w, "bids", NULL, n->bids, "Bids for leadership.");
    counter(w, "leaderships", NULL, n->leaderships, "Bids that led.");
    counter(w, "prepares", NULL, n->prepares, "Prepares sent.");
    counter(w, "promises", NULL, n->promises, "Promises given.");
    counter(w, "nacks", NULL, n->nacks, "Prepares and accepts refused for a higher promise.");
    counter(w, "accepts", NULL, n->accepts, "Accepts sent.");
    counter(w, "accepted", NULL, n->accepted, "Slots accepted.");
    counter(w, "resent_slots", NULL, n->resent_slots, "Slots sent again.");
    counter(w, "fetches", NULL, n->fetches, "Requests for missing slots.");
    counter(w, "fetched_slots", NULL, n->fetched_slots, "Slots learned by them.");
    counter(w, "fetches_put_off", NULL, n->fetches_put_off, "Peers' requests for old slots that were over the rate.");
    counter(w, "submits_forwarded", NULL, n->submits_forwarded, "Submits passed on to the leader.");
    counter(w, "duplicates", NULL, n->duplicates, "Chosen entries whose key stood already.");
    counter(w, "voids", NULL, n->voids, "Chosen entries out of their stream's order.");
    counter(w, "noops", NULL, n->noops, "Chosen no-ops.");
    counter(w, "ignored_messages", NULL, n->ignored_messages, "Peers' messages that made no sense here.");
}

static void print_journal(struct varlink_writer *w, const struct driver_status *s)
{
    const struct journal_stats *j = &s->journal;
    gauge(w, "journal_bytes", "bytes", j->bytes, "Size of the journal's files.");
    gauge(w, "journal_segments", NULL, j->segments, "Segments of the journal.");
    gauge(w, "disk_free_bytes", "bytes", j->free_bytes, "Free on the journal's file system.");
    gauge(w, "disk_has_space", NULL, s->has_space, "0 where the disk is full and no vote can be recorded.");
    counter(w, "journal_batches", NULL, j->batches, "Batches written.");
    counter(w, "journal_records", NULL, j->records, "Records written.");
    counter(w, "journal_syncs", NULL, j->syncs, "Syncs of the journal.");
    counter(w, "journal_written_bytes", "bytes", j->bytes_written, "Bytes written to the journal.");
    gauge(w, "checkpoint_slot", NULL, s->checkpoint, "Slot of the newest checkpoint; 0: there is none.");
    head(w, "checkpoint_age_seconds", "gauge", "seconds", "Since it was written, or read at the start.");
    print(w, "mpaxos_checkpoint_age_seconds ");
    print_seconds(w, s->checkpoint_age_usec);
    counter(w, "journal_trimmed_segments", NULL, j->segments_trimmed, "Segments that were trimmed.");
    counter(w, "installs", NULL, s->replica.counters.installs, "Checkpoints of peers that this replica went on from.");
    gauge(w, "journal_torn_bytes", "bytes", j->torn_bytes, "Bytes of a torn tail that the last start cut.");
    gauge(w, "journal_rotten_segments", NULL, s->n_rot, "Segments of which something cannot be read.");
    counter(w, "journal_mended_segments", NULL, j->segments_mended, "Segments whose rot was fetched again from peers.");
    counter(w, "journal_scrubbed_bytes", "bytes", j->scrubbed_bytes, "Bytes of full segments that were read to see.");
    head(w, "journal_sync_seconds", "summary", "seconds", "Duration of the last 1024 syncs, by quantile.");
    const struct {
        const char *quantile;
        uint64_t usec;
    } quantiles[] = {{"0.5", j->sync_p50_usec}, {"0.99", j->sync_p99_usec}, {"1", j->sync_max_usec}};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        print(w, "mpaxos_journal_sync_seconds{quantile=\"%s\"} ", quantiles[i].quantile);
        print_seconds(w, quantiles[i].usec);
    }
}

static const char *const reasons[DROP_REASONS] = {
    [DROP_TRUNCATED] = "truncated", [DROP_MALFORMED] = "malformed", [DROP_NO_MAGIC] = "no_magic",
    [DROP_VERSION] = "version",     [DROP_CHECKSUM] = "checksum",   [DROP_UNKNOWN_PEER] = "unknown_peer",
    [DROP_KEY] = "wrong_key",       [DROP_FORGED] = "forged",       [DROP_STALE] = "stale",
    [DROP_REPLAYED] = "replayed",   [DROP_FOREIGN] = "foreign",     [DROP_INJECTED] = "injected",
};

/* Only what there was: the reasons of all peers would be hundreds of lines. */
static void print_drops_of_peers(struct varlink_writer *w, const struct driver_status *s)
{
    head(w, "peer_datagrams_dropped", "counter", NULL,
         "Of the datagrams dropped, those from a peer's address, which anybody may have written.");
    for (uint32_t i = 0; i < s->replica.n_peers; i++)
        for (size_t k = 0; k < DROP_REASONS; k++)
            if (s->peers[i].dropped.counts[k] > 0)
                print(w, "mpaxos_peer_datagrams_dropped_total{peer=\"%u\",reason=\"%s\"} %" PRIu64 "\n",
                      s->replica.peers[i].id, reasons[k], s->peers[i].dropped.counts[k]);
}

static void print_network(struct varlink_writer *w, const struct driver_status *s)
{
    counter(w, "datagrams_sent", NULL, s->datagrams_sent, "Datagrams sent to peers.");
    counter(w, "datagrams_received", NULL, s->datagrams_received, "Datagrams received.");
    counter(w, "sent_bytes", "bytes", s->bytes_sent, "Bytes sent to peers.");
    counter(w, "received_bytes", "bytes", s->bytes_received, "Bytes received from peers.");
    counter(w, "send_errors", NULL, s->send_errors, "Datagrams that the system did not take.");
    counter(w, "datagrams_unsealed", NULL, s->datagrams_unsealed,
            "Datagrams not sent because there was no session with the peer yet.");
    head(w, "datagrams_dropped", "counter", NULL, "Datagrams dropped, by reason.");
    for (size_t i = 0; i < DROP_REASONS; i++)
        print(w, "mpaxos_datagrams_dropped_total{reason=\"%s\"} %" PRIu64 "\n", reasons[i], s->datagrams_dropped[i]);
    print_drops_of_peers(w, s);
    counter(w, "datagrams_overrun", NULL, s->datagrams_overrun,
            "Datagrams that the system dropped because the socket's buffer was full.");
    gauge(w, "assembly_values", NULL, s->assembly.values, "Values of peers of which pieces are missing.");
    gauge(w, "assembly_bytes", "bytes", s->assembly.bytes, "Memory that they take.");
    counter(w, "assembly_driven_out", NULL, s->assembly.driven_out,
            "Values driven out by others of the same peer before they were whole.");
}

static void print_peers(struct varlink_writer *w, const struct driver_status *s)
{
    const struct replica_status *r = &s->replica;
    head(w, "peer_linked", "gauge", NULL, "1 where the peer is heard, and hears this replica.");
    for (uint32_t i = 0; i < r->n_peers; i++)
        print(w, "mpaxos_peer_linked{peer=\"%u\"} %d\n", r->peers[i].id, r->peers[i].linked);
    head(w, "peer_chosen_slot", "gauge", NULL, "Slot up to which the peer knows all to be chosen.");
    for (uint32_t i = 0; i < r->n_peers; i++)
        print(w, "mpaxos_peer_chosen_slot{peer=\"%u\"} %" PRIu64 "\n", r->peers[i].id, r->peers[i].chosen);
    head(w, "peer_rtt_seconds", "gauge", "seconds", "Smoothed round trip to the peer; 0: not known.");
    for (uint32_t i = 0; i < r->n_peers; i++) {
        print(w, "mpaxos_peer_rtt_seconds{peer=\"%u\"} ", r->peers[i].id);
        print_seconds(w, r->peers[i].rtt_usec);
    }
}

static void print_control(struct varlink_writer *w, const struct control_stats *s)
{
    counter(w, "log_lines_left_out", NULL, log_left_out(), "Lines that the log's limits left out.");
    gauge(w, "control_connections_open", NULL, s->connections_now, "Clients connected.");
    counter(w, "control_connections", NULL, s->connections, "Connections accepted.");
    counter(w, "control_connections_refused", NULL, s->connections_refused, "Connections refused: too many.");
    counter(w, "control_connections_refused_user", NULL, s->refused_of_user,
            "Of them, connections of a user who has as many as one may have.");
    counter(w, "control_calls_held_user", NULL, s->calls_of_user,
            "Submits put off because their user has as many in flight as one may have.");
    counter(w, "control_calls_held", NULL, s->calls_held,
            "Submits put off because their connection has as many in flight as one may have.");
    counter(w, "control_pauses", NULL, s->pauses, "Times that a client was left without further calls until it reads.");
    gauge(w, "control_queued_in_bytes", "bytes", s->queued_bytes[QUEUE_IN],
          "Calls of all users that are not begun, or not whole.");
    gauge(w, "control_queued_out_bytes", "bytes", s->queued_bytes[QUEUE_OUT],
          "Replies to all users that they have not read.");
    counter(w, "control_queues_full", NULL, s->queues_full,
            "Times that these reached what one user, or all together, may have of them.");
    counter(w, "control_closed_full", NULL, s->closed_full,
            "Connections closed for that, with a call that was not whole.");
    counter(w, "control_calls", NULL, s->calls, "Calls.");
    counter(w, "control_errors", NULL, s->errors, "Calls answered by an error.");
    counter(w, "control_texts_too_large", NULL, s->texts_too_large,
            "Submits refused for a text over message_bytes_max.");
    counter(w, "control_closed_malformed", NULL, s->closed_malformed, "Connections closed for a malformed call.");
    counter(w, "control_closed_slow", NULL, s->closed_slow, "Connections closed because they did not read.");
}

void method_metrics(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {NULL};
    struct varlink_writer text = {0};
    struct control *c = k->control;
    if (!parameters_known(k, call, known))
        return;
    const struct driver_status *s = control_view(c);
    head(&text, "build", "info", NULL, "What runs.");
    print(&text, "mpaxos_build_info{version=\"%s\",replica=\"%u\"} 1\n", c->version != NULL ? c->version : "", c->id);
    head(&text, "start_time_seconds", "gauge", "seconds", "When the daemon started, since the epoch.");
    print(&text, "mpaxos_start_time_seconds ");
    print_seconds(&text, c->started_usec);
    print_replica(&text, s);
    print_journal(&text, s);
    print_network(&text, s);
    print_peers(&text, s);
    print_control(&text, &c->stats);
    print(&text, "# EOF\n");
    k->out.failed |= text.failed;
    varlink_write_text(reply_begin(k), "text", text.bytes != NULL ? text.bytes : "", text.size);
    reply_end(k, false);
    free(text.bytes);
}
