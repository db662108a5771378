/* What Status advises: the evidence for what is wrong, and what to do about it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/faults.h"
#include "host/methods.h"
#include "host/rot_text.h"

enum { SLOW_SYNC_USEC = 1000000 };

static uint64_t now_usec(void)
{
    return uv_hrtime() / 1000;
}

/* The rules run twice: the one list, then the other. */
struct advice {
    struct varlink_writer *w;
    const struct control *c;
    const struct driver_status *s;
    const char *dir; /* of the state */
    bool remedies;
};

__attribute__((format(printf, 3, 4))) static void say(const struct advice *a, bool remedy, const char *format, ...)
{
    char line[REASON_MAX + 1];
    va_list args;
    if (remedy != a->remedies)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    varlink_write_string(a->w, NULL, line);
}

static const char *duration(uint64_t usec, char ret[32])
{
    uint64_t s = usec / 1000000;
    if (s < 120)
        snprintf(ret, 32, "%" PRIu64 " s", s);
    else if (s < 7200)
        snprintf(ret, 32, "%" PRIu64 " min", s / 60);
    else if (s < 172800)
        snprintf(ret, 32, "%" PRIu64 " h", s / 3600);
    else
        snprintf(ret, 32, "%" PRIu64 " days", s / 86400);
    return ret;
}

bool status_is_starting(const struct driver_status *s)
{
    return s->replica.identity == IDENTITY_EMPTY || s->replica.identity == IDENTITY_STARTING;
}

/* "1, 2": the peers that were never heard. */
static uint32_t list_unheard(const struct driver_status *s, char *ret, size_t size)
{
    uint32_t n = 0;
    size_t used = 0;
    ret[0] = 0;
    for (uint32_t i = 0; i < s->replica.n_peers; i++) {
        if (s->replica.peers[i].heard_usec != 0 || used + 8 > size)
            continue;
        used += (size_t)snprintf(ret + used, size - used, "%s%u", n > 0 ? ", " : "", s->replica.peers[i].id);
        n++;
    }
    return n;
}

void describe_start(const struct control *c, const struct driver_status *s, char ret[REASON_MAX + 1])
{
    char list[REPLICAS_MAX * 8];
    uint32_t n = list_unheard(s, list, sizeof(list));
    const char *noun = n == 1 ? "replica" : "replicas";
    if (n > 0)
        snprintf(ret, REASON_MAX + 1,
                 "replica %u has not started: it has not heard of %s %s; start %s %s, or, where some can never be "
                 "started, let the rest start without them by mpaxosctl bootstrap",
                 c->id, noun, list, noun, list);
    else
        snprintf(ret, REASON_MAX + 1,
                 "replica %u has not started yet: it has heard of all others and waits until they agree; where this "
                 "lasts, compare their configuration files (mpaxosctl status names those that differ)",
                 c->id);
}

static void advise_damage(const struct advice *a)
{
    const struct journal_stats *j = &a->s->journal;
    const struct replica_status *r = &a->s->replica;
    if (r->identity == IDENTITY_QUARANTINED) {
        say(a, false,
            "quarantined: segment-%016" PRIx64 " was damaged at offset %" PRIu64
            ", and votes of this replica were lost with it; it learns, and votes for nothing",
            j->damaged_segment, j->damaged_offset);
        say(a, true,
            "look at the disk of %s, and keep the other replicas running: this one counts for no majority any more; "
            "see FAILURES in mpaxos(7)",
            a->dir);
    } else if (r->silent_until != 0) {
        say(a, false,
            "repairing: segment-%016" PRIx64 " was damaged at offset %" PRIu64 "; what was lost is fetched from the "
            "peers, and this replica votes again from slot %" PRIu64 " on",
            j->damaged_segment, j->damaged_offset, r->silent_until);
        say(a, true, "wait, and look at the disk of %s", a->dir);
    }
}

static void advise_rot(const struct advice *a)
{
    char text[ROT_TEXT_MAX + 1];
    bool unserved = false, full = false, stuck = false;
    for (size_t i = 0; i < a->s->n_rot; i++) {
        rot_describe(&a->s->rot[i], text);
        say(a, false, "%s", text);
        unserved |= a->s->rot[i].state == JOURNAL_ROT_UNSERVED;
        full |= a->s->rot[i].state == JOURNAL_ROT_FULL;
        stuck |= a->s->rot[i].state == JOURNAL_ROT_STUCK;
    }
    if (a->s->n_rot > 0)
        say(a, true, "look at the disk of %s: what reads wrong once may do so again", a->dir);
    if (unserved)
        say(a, true, "start the replicas that are away: one of them may have the slots that rotted here");
    if (full)
        say(a, true, "free space on the file system of %s, for the segment that rotted", a->dir);
    if (stuck)
        say(a, true, "read these slots on another replica, or in its chat log file: mpaxosctl -i N log");
}

/* "What is wrong; what to do": NULL or "": nothing is. */
static void advise_checkpoint(const struct advice *a)
{
    const char *trouble = a->s->checkpoint_trouble, *remedy = trouble != NULL ? strchr(trouble, ';') : NULL;
    if (remedy == NULL)
        return;
    say(a, false, "no checkpoint can be written, so that restarts take longer, and nothing is trimmed: %.*s",
        (int)(remedy - trouble), trouble);
    say(a, true, "%s", remedy + 2);
}

static void advise_differing(const struct advice *a)
{
    for (uint32_t i = 0; i < a->s->replica.n_peers; i++) {
        const struct peer_status *p = &a->s->replica.peers[i];
        if (!p->differs)
            continue;
        say(a, false, "replica %u (%s): %s", p->id, a->s->peers[i].address, a->s->peers[i].note);
        say(a, true,
            "make the configuration files of replicas %u and %u name the same replicas, ids and addresses as they are "
            "written, and the same dedup_slots, and restart the one whose file was changed",
            p->id, a->c->id);
    }
}

static void advise_start(const struct advice *a)
{
    char reason[REASON_MAX + 1];
    const struct replica_status *r = &a->s->replica;
    if (status_is_starting(a->s)) {
        describe_start(a->c, a->s, reason);
        char *remedy = strchr(reason, ';');
        if (remedy != NULL)
            *remedy = 0;
        say(a, false, "%s", reason);
        if (remedy != NULL)
            say(a, true, "%s", remedy + 2);
        advise_differing(a);
    }
    advise_damage(a);
    advise_rot(a);
    advise_checkpoint(a);
    if (r->diverged) {
        say(a, false, "diverged: this replica's log differs from a peer's at the same slot; it has stopped voting");
        say(a, true, "keep the state directories of all replicas and report this; see mpaxos(7)");
    }
}

static void advise_peer(const struct advice *a, uint32_t i)
{
    const struct peer_status *p = &a->s->replica.peers[i];
    const struct driver_peer *d = &a->s->peers[i];
    char text[32];
    if (d->refused) {
        say(a, false, "replica %u (%s) refused: %s", p->id, d->address, d->note[0] != 0 ? d->note : "it is no member");
        if (d->refusal == REFUSAL_KEY)
            say(a, true, "compare the key files of %u and %u", p->id, a->c->id);
        else if (d->refusal == REFUSAL_VERSION)
            say(a, true, "see that replicas %u and %u run the same release: mpaxosd --version", p->id, a->c->id);
        else
            say(a, true, "compare the configuration and the state of replica %u with this one's", p->id);
    } else if (p->heard_usec == 0) {
        say(a, false, "replica %u (%s) has never been heard", p->id, d->address);
        say(a, true, "see that replica %u runs: systemctl status mpaxosd@%u, and that UDP reaches %s", p->id, p->id,
            d->address);
    } else if (!p->linked) {
        uint64_t silent = now_usec() - p->heard_usec;
        say(a, false, "replica %u (%s) %s %s", p->id, d->address,
            silent < JUST_HEARD_USEC ? "does not hear this replica, or was last heard" : "silent for",
            duration(silent, text));
        say(a, true, "see that replica %u runs: systemctl status mpaxosd@%u", p->id, p->id);
    }
    if (p->silent && p->linked) {
        say(a, false,
            "replica %u (%s) does not vote: its disk hangs or is full, its journal was damaged, or its log differs",
            p->id, d->address);
        say(a, true, "ask it why, on its host: mpaxosctl -i %u status", p->id);
    }
    if (!d->refused && d->note[0] != 0)
        say(a, false, "replica %u (%s): %s", p->id, d->address, d->note);
    if (d->dropped.text[0] != 0) {
        say(a, false,
            "datagrams refused from the address of replica %u, which anybody may write on them, the last one %s "
            "ago: %s",
            p->id, duration(now_usec() - d->dropped.last_usec, text), d->dropped.text);
        say(a, true, "see who sends from %s: tcpdump udp port %u, on both hosts", d->address,
            config_find(a->s->config, a->c->id)->port);
    }
}

static bool has_flush_trouble(const struct advice *a)
{
    return a->s->flush_trouble != NULL && a->s->flush_trouble[0] != 0;
}

static void advise_chatlog(const struct advice *a)
{
    if (has_flush_trouble(a) && a->s->flush_awaited > 0) {
        say(a, false,
            "the way back by a checkpoint waits for the chat log file, which lacks slots %" PRIu64 " to %" PRIu64
            " that are here: %s",
            a->s->flushed + 1, a->s->flush_awaited, a->s->flush_trouble);
        say(a, true,
            "make the chat log file writable, or move it to another directory: a new one then begins with slot "
            "%" PRIu64 "; this replica goes on by itself",
            a->s->flushed + 1);
    } else if (has_flush_trouble(a)) {
        say(a, false, "nothing is trimmed, since the chat log cannot be flushed: %s", a->s->flush_trouble);
        say(a, true, "see to the chat log file, then: mpaxosctl -i %u flush", a->c->id);
    }
    if (a->s->gap.last > 0) {
        say(a, false, "slots %" PRIu64 " to %" PRIu64 " were no longer kept, and are missing in the chat log file",
            a->s->gap.first, a->s->gap.last);
        say(a, true, "take another replica's chat log file where the whole log is wanted");
    }
}

static void advise_quorum(const struct advice *a)
{
    const struct replica_status *r = &a->s->replica;
    char text[32];
    if (status_is_starting(a->s))
        return;
    if (!r->quorum && r->n_linked < r->n_needed)
        say(a, false, "no quorum for %s: %u of %u heard, %u needed; nothing can be chosen, reads show slot %" PRIu64,
            duration(now_usec() - r->quorum_since_usec, text), r->n_linked, r->n_peers + 1, r->n_needed, r->chosen);
    else if (!r->quorum)
        say(a, false, "no leader for %s: %u of %u heard, which is enough to elect one",
            duration(now_usec() - r->quorum_since_usec, text), r->n_linked, r->n_peers + 1);
    for (uint32_t i = 0; i < r->n_peers; i++)
        advise_peer(a, i);
    if (r->lagging) {
        say(a, false, "behind its peers: this replica is catching up%s, and has slot %" PRIu64,
            a->s->installing ? " by a checkpoint" : "", r->chosen);
        if (!has_flush_trouble(a) || a->s->flush_awaited == 0)
            say(a, true, "wait; mpaxosctl status -w shows the progress");
    }
}

static void advise_faults(const struct advice *a)
{
    struct fault faults[FAULTS_MAX];
    size_t n = faults_list(driver_faults(a->c->driver), now_usec(), faults);
    for (size_t i = 0; i < n; i++) {
        static const char *const ways[] = {[FAULT_IN] = "in", [FAULT_OUT] = "out", [FAULT_BOTH] = "in and out"};
        char peer[32] = "";
        if (faults[i].peer != REPLICA_ID_NONE)
            snprintf(peer, sizeof(peer), ", replica %u", faults[i].peer);
        say(a, false, "injected fault: drops %u%% %s%s", faults[i].rate, ways[faults[i].direction], peer);
    }
    if (n > 0)
        say(a, true, "lift the injected faults: mpaxosctl -i %u drop 0", a->c->id);
}

static void advise_kept(const struct advice *a)
{
    const char *restart = a->s->kept_restart, *stop = a->s->kept_stop;
    if (restart != NULL && restart[0] != 0) {
        say(a, false,
            "the configuration file says otherwise since the start in %s, which a running replica does not take up",
            restart);
        say(a, true, "restart the replicas one after the other: systemctl restart mpaxosd@%u", a->c->id);
    }
    if (stop != NULL && stop[0] != 0) {
        say(a, false, "there is a %s since the start, which a running replica does not take up", stop);
        say(a, true,
            "put the %s in place on all hosts, stop all replicas, and then start them: one that has it and one that "
            "has not do not hear each other",
            stop);
    }
}

static void advise_host(const struct advice *a)
{
    if (!a->s->has_space) {
        say(a, false, "disk full: there is no room for the journal in %s, so this replica records no votes", a->dir);
        say(a, true, "free space on the file system of %s; it goes on by itself", a->dir);
    }
    uint64_t busy = a->s->busy_since_usec != 0 ? now_usec() - a->s->busy_since_usec : 0;
    if (busy > SLOW_SYNC_USEC) {
        char text[32];
        say(a, false, "slow disk: one write or sync of the journal in %s has been running for %s", a->dir,
            duration(busy, text));
        say(a, true, "look at the disk of %s: iostat -x 1, dmesg", a->dir);
    }
    advise_chatlog(a);
    if (a->s->config_warning != NULL && a->s->config_warning[0] != 0) {
        say(a, false, "%s", a->s->config_warning);
        if (a->s->is_config_overruled)
            say(a, true, "make the configuration file say what the log says, on every replica");
    }
    advise_kept(a);
    if (a->s->seal.n_keys == 0)
        say(a, false, "datagrams are not authenticated (no cluster key; all addresses are loopback)");
    if (a->s->unlocked_error != 0) {
        say(a, false, "keys may be swapped to the disk: their memory could not be locked: %s",
            strerror(a->s->unlocked_error));
        say(a, true,
            "raise the limit of locked memory (LimitMEMLOCK=8M in the unit, ulimit -l 8192 by hand), and "
            "restart the replica");
    }
    if (a->s->strangers.text[0] != 0) {
        char text[32];
        say(a, false, "datagrams refused since the start, the last one %s ago%s%s: %s",
            duration(now_usec() - a->s->strangers.last_usec, text), a->s->stranger[0] != 0 ? " from " : "",
            a->s->stranger, a->s->strangers.text);
        say(a, true, "see who sends to this replica's port: tcpdump udp port %u, and close it to all but the replicas",
            config_find(a->s->config, a->c->id)->port);
    }
}

void write_advice(struct varlink_writer *w, const struct control *c, const struct driver_status *s)
{
    struct advice a = {.w = w, .c = c, .s = s, .dir = c->state_dir != NULL ? c->state_dir : "the state directory"};
    for (int pass = 0; pass < 2; pass++) {
        a.remedies = pass == 1;
        varlink_write_open(w, a.remedies ? "remedies" : "warnings", '[');
        advise_start(&a);
        advise_quorum(&a);
        advise_faults(&a);
        advise_host(&a);
        varlink_write_close(w, ']');
    }
}
