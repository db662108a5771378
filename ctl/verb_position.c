/* position and wait: for scripts, and for what has to start after a quorum. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/verbs.h"

enum { WAIT_TIMEOUT_MSEC = 60000, WAIT_PAUSE_USEC = 100000, WAIT_CALL_MSEC = 2000 };

int verb_position(const struct invocation *v)
{
    struct client c;
    struct failure f = {0};
    struct reply r = {0};
    uint64_t timeout_msec = invocation_timeout(v, CLIENT_TIMEOUT_MSEC_DEFAULT);
    cJSON *p = NULL;
    int status = EXIT_DONE;
    if (invocation_has(v, OPTION_LINEARIZABLE)) {
        p = cJSON_CreateObject();
        cJSON_AddTrueToObject(p, "linearizable");
        cJSON_AddItemToObject(p, "timeout_ms", client_timeout(timeout_msec));
    }
    if (client_open(&c, &v->place, &f) < 0) {
        cJSON_Delete(p);
        status = report_failure(&v->report, &f);
    } else if (client_ask(&c, "org.mpaxos.Replica.Position", p, timeout_msec + CLIENT_GRACE_MSEC, false, &r, &f) < 0) {
        status = report_failure(&v->report, &f);
    } else if (v->report.json == JSON_OFF) {
        int64_t slot = 0;
        varlink_get_int(r.parameters, "slot", 0, INT64_MAX, &slot);
        printf("%" PRId64 "\n", slot);
    } else {
        report_json(&v->report, r.parameters, false);
    }
    reply_done(&r);
    client_close(&c);
    failure_done(&f);
    return status;
}

struct waiting {
    const struct invocation *v;
    bool quorum, slot;
    uint64_t wanted;
    bool asked; /* some daemon answered */
    bool have_quorum;
    int64_t chosen;
};

/* One look, through one Status. True: what was waited for is there. */
static bool look(struct waiting *w, struct failure *f)
{
    struct client c;
    struct reply r = {0};
    bool done = false;
    if (client_open(&c, &w->v->place, f) == 0 &&
        client_ask(&c, "org.mpaxos.Replica.Status", NULL, WAIT_CALL_MSEC, false, &r, f) == 0) {
        int64_t leader = -1;
        w->asked = true;
        w->have_quorum = false;
        varlink_get_bool(r.parameters, "quorum", &w->have_quorum);
        varlink_get_int(r.parameters, "leader", 0, INT64_MAX, &leader);
        varlink_get_int(r.parameters, "chosen", 0, INT64_MAX, &w->chosen);
        w->have_quorum &= leader >= 0;
        done = (!w->quorum || w->have_quorum) && (!w->slot || w->chosen >= (int64_t)w->wanted);
        if (done && w->v->report.json != JSON_OFF)
            report_json(&w->v->report, r.parameters, false);
    }
    reply_done(&r);
    client_close(&c);
    return done;
}

static int waited_in_vain(const struct waiting *w, struct failure *f, uint64_t timeout_msec)
{
    if (w->asked && w->quorum && !w->have_quorum)
        failure_set(f, EXIT_NO_QUORUM, "org.mpaxos.Control.NoQuorum", NULL,
                    "no quorum within %.1f s. Try: mpaxosctl status", (double)timeout_msec / 1000.0);
    else if (w->asked)
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.SlotNotReached", NULL,
                    "slot %" PRIu64 " was not reached within %.1f s: it is at slot %" PRId64 ". Try: mpaxosctl status",
                    w->wanted, (double)timeout_msec / 1000.0, w->chosen);
    return report_failure(&w->v->report, f);
}

int verb_wait(const struct invocation *v)
{
    struct waiting w = {.v = v};
    struct failure f = {0};
    int has_slot = invocation_number(v, OPTION_SLOT, 0, INT64_MAX, &w.wanted);
    if (has_slot < 0)
        return EXIT_USAGE;
    w.slot = has_slot;
    w.quorum = invocation_has(v, OPTION_QUORUM) || !has_slot;
    uint64_t timeout_msec = invocation_timeout(v, WAIT_TIMEOUT_MSEC);
    uint64_t deadline = monotonic_usec() + timeout_msec * 1000;
    int status = EXIT_DONE;
    while (!look(&w, &f)) {
        if (f.status == EXIT_NOT_PERMITTED || monotonic_usec() >= deadline) {
            status = waited_in_vain(&w, &f, timeout_msec);
            break;
        }
        usleep(WAIT_PAUSE_USEC);
    }
    failure_done(&f);
    return status;
}
