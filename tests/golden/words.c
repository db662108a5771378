/* What happens, in words. */
#include "tests/golden/golden.h"

#include <string.h>

static const char *const type_names[] = {
    [MESSAGE_HEARTBEAT] = "heartbeat", [MESSAGE_PREPARE] = "prepare",   [MESSAGE_PROMISE] = "promise",
    [MESSAGE_ACCEPT] = "accept",       [MESSAGE_ACCEPTED] = "accepted", [MESSAGE_NACK] = "nack",
    [MESSAGE_FETCH] = "fetch",         [MESSAGE_CHOSEN] = "chosen",     [MESSAGE_BODY] = "body",
    [MESSAGE_SUBMIT] = "submit",       [MESSAGE_STATE] = "state",       [MESSAGE_POSITION] = "position",
    [MESSAGE_ANSWER] = "answer",       [MESSAGE_CONFIRM] = "confirm",   [MESSAGE_CONFIRMED] = "confirmed",
    [MESSAGE_TRANSFER] = "transfer",
};

enum { N_TYPES = sizeof(type_names) / sizeof(*type_names) };

uint32_t words_type(const char *name)
{
    for (uint32_t i = 1; i < N_TYPES; i++)
        if (strcmp(type_names[i], name) == 0)
            return UINT32_C(1) << i;
    return 0;
}

void words_line(struct host *h, const char *what, const char *format, ...)
{
    va_list args;
    fprintf(h->world->out, "    %u  %-9s ", h->id, what);
    va_start(args, format);
    vfprintf(h->world->out, format, args);
    va_end(args);
    fputc('\n', h->world->out);
}

void words_ballot(FILE *out, struct ballot b)
{
    if (b.round == 0)
        fputs("none", out);
    else
        fprintf(out, "%lu.%u", b.round, b.id);
}

/* The number on a stream, and the key, only where the scenario named them. */
void words_value(FILE *out, const struct value *v)
{
    if (v == NULL) {
        fputs("a value", out);
    } else if (v->type == VALUE_MESSAGE) {
        fprintf(out, "\"%.*s\"", (int)v->text_size, (const char *)v->text);
        if (v->key[0] != '~')
            fprintf(out, " key %.*s", (int)v->key_size, (const char *)v->key);
        if (v->stream < CALLS_MAX)
            fprintf(out, " #%lu of s%lu", v->n, v->stream);
    } else {
        fputs(v->type == VALUE_NOOP ? "no-op" : v->type == VALUE_BARRIER ? "barrier" : "configuration", out);
    }
}

/* --- records --- */

static const char *identity_name(enum identity_status status)
{
    static const char *const names[] = {"", "empty", "starting", "voter", "quarantined"};
    return names[status];
}

void words_record(struct host *h, const struct record *record)
{
    FILE *out = h->world->out;
    if ((h->world->show & SHOW_RECORDS) == 0)
        return;
    fprintf(out, "    %u  writes    ", h->id);
    switch (record->type) {
    case RECORD_PROMISE:
        fputs("promise ", out);
        words_ballot(out, record->ballot);
        break;
    case RECORD_ACCEPT:
        fprintf(out, "accept ");
        words_ballot(out, record->ballot);
        fprintf(out, ": slot %lu ", record->slot);
        words_value(out, record->value);
        break;
    case RECORD_CHOSEN:
        fprintf(out, "chosen: slot %lu ", record->slot);
        words_value(out, record->value);
        break;
    case RECORD_COMMIT:
        fprintf(out, "commit up to %lu", record->slot);
        for (uint32_t i = 0; i < record->n_notes; i++)
            fprintf(out, ", slot %lu %s", record->notes[i].slot,
                    record->notes[i].type == NOTE_HIDDEN ? "hidden" : "at a later time");
        break;
    case RECORD_IDENTITY:
        fprintf(out, "identity: %s", identity_name(record->identity->status));
        for (uint32_t i = 0; i < record->identity->configuration.n_members; i++)
            fprintf(out, "%s%lu", i == 0 ? ", lives " : " ", record->identity->configuration.members[i].life);
        break;
    }
    fputc('\n', out);
}

/* --- messages --- */

static void print_promise(FILE *out, const struct world *w, const struct promise *p)
{
    words_ballot(out, p->ballot);
    fprintf(out, ", slots %lu to %lu: ", p->from + (slot_t)p->page * p->page_slots,
            p->from + (slot_t)(p->page + 1) * p->page_slots - 1);
    for (uint32_t i = 0; i < p->n_entries; i++) {
        const struct promised_entry *e = &p->entries[i];
        fprintf(out, "%lu ", e->slot);
        words_value(out, world_find_value(w, &e->hash));
        fputs(e->chosen ? " chosen" : " under ", out);
        if (!e->chosen)
            words_ballot(out, e->ballot);
        fputs("; ", out);
    }
    fprintf(out, "chosen up to %lu%s", p->chosen, p->last ? ", nothing above" : ", more follows");
}

static void print_entries(FILE *out, const struct entry *e, uint32_t n, bool slots)
{
    for (uint32_t i = 0; i < n; i++) {
        fputs(i == 0 ? "" : "; ", out);
        if (slots)
            fprintf(out, "%lu ", e[i].slot);
        words_value(out, e[i].value);
    }
}

static void print_accept(FILE *out, const struct accept *a)
{
    words_ballot(out, a->ballot);
    if (a->n_entries > 0)
        fputs(": ", out);
    print_entries(out, a->entries, a->n_entries, true);
    fprintf(out, ", commit %lu", a->commit);
}

static void print_accepted(FILE *out, const struct accepted *a)
{
    words_ballot(out, a->ballot);
    fputc(':', out);
    for (uint32_t i = 0; i < 64 * a->n_words; i++)
        if ((a->words[i / 64] >> (i % 64) & 1) != 0)
            fprintf(out, " %lu", a->base + i);
    fprintf(out, "%schosen up to %lu", a->n_words > 0 ? ", " : " ", a->chosen);
}

static void print_heartbeat(FILE *out, const struct heartbeat *b)
{
    fputs("bid ", out);
    words_ballot(out, b->ballot);
    fputs(", follows ", out);
    words_ballot(out, b->followed);
    fprintf(out, "%s%s%s, commit %lu, hears", b->leading ? ", leading" : "", b->happy ? ", happy" : ", not happy",
            b->silent ? ", silent" : "", b->commit);
    for (uint32_t i = 0; i < b->n_echoes; i++)
        fprintf(out, " %u", b->echoes[i].id);
}

static void print_fetch(FILE *out, const struct world *w, const struct fetch *f)
{
    if (!f->by_hash) {
        fprintf(out, "slots %lu to %lu", f->from, f->until);
        return;
    }
    fprintf(out, "the body of slot %lu: ", f->from);
    words_value(out, world_find_value(w, &f->hash));
}

static void print_state(FILE *out, const struct state *s)
{
    fprintf(out, "%s%s%s%s", identity_name(s->status), s->nonce != 0 ? ", asks" : "", s->answer != 0 ? ", answers" : "",
            s->slot0 != NULL ? ", with slot 0" : "");
}

static void print_fields(FILE *out, const struct world *w, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        print_heartbeat(out, &m->heartbeat);
        break;
    case MESSAGE_PREPARE:
        words_ballot(out, m->prepare.ballot);
        fprintf(out, " from slot %lu, page %u on", m->prepare.from, m->prepare.page);
        break;
    case MESSAGE_PROMISE:
        print_promise(out, w, &m->promise);
        break;
    case MESSAGE_ACCEPT:
        print_accept(out, &m->accept);
        break;
    case MESSAGE_ACCEPTED:
        print_accepted(out, &m->accepted);
        break;
    case MESSAGE_NACK:
        words_ballot(out, m->nack.rejected);
        fputs(": promised ", out);
        words_ballot(out, m->nack.promised);
        break;
    case MESSAGE_FETCH:
        print_fetch(out, w, &m->fetch);
        break;
    case MESSAGE_CHOSEN:
        if (m->chosen.n_entries == 0)
            fprintf(out, "nothing, kept is from slot %lu on", m->chosen.first_kept);
        print_entries(out, m->chosen.entries, m->chosen.n_entries, true);
        break;
    case MESSAGE_BODY:
        print_entries(out, &m->body, 1, true);
        break;
    case MESSAGE_SUBMIT:
        print_entries(out, m->submit.entries, m->submit.n_entries, false);
        break;
    case MESSAGE_STATE:
        print_state(out, &m->state);
        break;
    case MESSAGE_POSITION:
        fputs("is asked", out);
        break;
    case MESSAGE_ANSWER:
        fprintf(out, "slot %lu", m->position.slot);
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        words_ballot(out, m->confirm.ballot);
        break;
    case MESSAGE_TRANSFER:
        words_ballot(out, m->transfer.ballot);
        fprintf(out, " to %u", m->transfer.target);
        break;
    default:
        break;
    }
}

/* Those that a command lost or held are named. */
static void print_fate(struct host *h, const struct message *m, replica_id_t to, const char *what,
                       uint32_t masks[HOSTS_MAX])
{
    bool any = false;
    for (uint8_t i = 0; i < h->world->n_hosts; i++) {
        if (i == h->id || (to != REPLICA_ID_NONE && to != i) || (masks[i] >> m->type & 1) == 0)
            continue;
        if (!any)
            fprintf(h->world->out, "  (%s", what);
        if (to == REPLICA_ID_NONE)
            fprintf(h->world->out, "%s%u", any ? " " : " to ", i);
        any = true;
    }
    fputs(any ? ")" : "", h->world->out);
}

void words_message(struct host *h, const struct message *m, replica_id_t to)
{
    struct world *w = h->world;
    if ((w->show >> m->type & 1) == 0)
        return;
    if (to == REPLICA_ID_NONE)
        fprintf(w->out, "    %u -> all     ", h->id);
    else
        fprintf(w->out, "    %u -> %-2u      ", h->id, to);
    fprintf(w->out, "%s ", type_names[m->type]);
    print_fields(w->out, w, m);
    print_fate(h, m, to, "lost", w->cut[h->id]);
    print_fate(h, m, to, "held", w->held[h->id]);
    fputc('\n', w->out);
}

/* --- what a replica tells --- */

void words_applied(struct host *h, const struct applied *a)
{
    FILE *out = h->world->out;
    if ((h->world->show & SHOW_APPLIED) == 0)
        return;
    fprintf(out, "    %u  applies   slot %lu ", h->id, a->slot);
    words_value(out, a->value);
    fputs(a->value->type == VALUE_MESSAGE && !a->visible ? ", hidden\n" : "\n", out);
}

void words_outcome(struct host *h, const struct outcome *o)
{
    static const char *const names[] = {
        [OUTCOME_CHOSEN] = "chosen at",       [OUTCOME_DUPLICATE] = "duplicate of",
        [OUTCOME_CONFLICT] = "conflict with", [OUTCOME_EXPIRED] = "expired, oldest known key is of",
        [OUTCOME_RENUMBER] = "renumber",      [OUTCOME_OVERLOADED] = "overloaded",
        [OUTCOME_NO_QUORUM] = "no quorum",    [OUTCOME_NOT_STARTED] = "not started",
        [OUTCOME_NO_SPACE] = "no space",      [OUTCOME_POSITION] = "is",
    };
    struct call *c = &h->world->calls[o->cookie - 1];
    c->open = false;
    if ((h->world->show & SHOW_OUTCOMES) == 0)
        return;
    fprintf(h->world->out, "    %u  tells     %s: %s", h->id, c->label, names[o->type]);
    if (o->slot != 0 || o->type == OUTCOME_POSITION)
        fprintf(h->world->out, " slot %lu", o->slot);
    fputc('\n', h->world->out);
}

void words_leader(struct host *h, const struct replica_status *now)
{
    const char *what[3] = {NULL};
    bool leads = now->counters.leaderships > h->before.counters.leaderships;
    if (h->before.role == ROLE_LEADER && (now->role != ROLE_LEADER || leads))
        what[0] = "stops";
    if (now->counters.bids > h->before.counters.bids)
        what[1] = "bids";
    if (leads)
        what[2] = "leads";
    for (int i = 0; i < 3 && (h->world->show & SHOW_LEADERS) != 0; i++) {
        if (what[i] == NULL)
            continue;
        fprintf(h->world->out, "    %u  %-9s ", h->id, what[i]);
        words_ballot(h->world->out, i == 0 ? h->before.ballot : i == 1 ? now->promised : now->ballot);
        fputc('\n', h->world->out);
    }
}

void words_recalled(struct host *h)
{
    FILE *out = h->world->out;
    if (h->boots == 1)
        return;
    fprintf(out, "    %u  starts    %s, promised ", h->id, identity_name(h->superblock.status));
    words_ballot(out, h->before.promised);
    fprintf(out, ", accepted up to %lu, chosen up to %lu\n", h->before.accepted, h->before.chosen);
}

void words_installed(struct host *h, replica_id_t from)
{
    if ((h->world->show & SHOW_LEADERS) != 0)
        words_line(h, "goes on", "from the checkpoint of %u, of slot %lu", from, h->checkpoint_slot);
}

void words_status(struct world *w)
{
    static const char *const roles[] = {"leads", "follows", "bids", "learns"};
    for (uint32_t i = 0; i < w->n_hosts; i++) {
        struct host *h = &w->hosts[i];
        struct replica_status s;
        if (!h->up) {
            fprintf(w->out, "    %u  is down\n", i);
            continue;
        }
        replica_status(h->replica, &s);
        fprintf(w->out, "    %u  %-9s ", i, roles[s.role]);
        if (s.role == ROLE_CANDIDATE)
            words_ballot(w->out, s.promised);
        else if (s.leader == REPLICA_ID_NONE)
            fputs("nobody", w->out);
        else
            words_ballot(w->out, s.ballot);
        fputs(", promised ", w->out);
        words_ballot(w->out, s.promised);
        fprintf(w->out, ", chosen up to %lu, accepted up to %lu, %s, %s%s\n", s.chosen, s.accepted,
                identity_name(s.identity), s.quorum ? "quorum" : "no quorum", h->paused ? ", paused" : "");
    }
}

/* Each slot once, and who has it. */
void words_log(struct world *w)
{
    for (slot_t s = 1; s < LOG_MAX; s++) {
        const struct host *first = NULL;
        for (uint32_t i = 0; i < w->n_hosts; i++)
            if (first == NULL && w->hosts[i].applied[s] != NULL)
                first = &w->hosts[i];
        if (first == NULL)
            break;
        fprintf(w->out, "    slot %-3lu  ", s);
        words_value(w->out, first->applied[s]);
        fputs(first->applied[s]->type == VALUE_MESSAGE && !first->visible[s] ? ", hidden  (on" : "  (on", w->out);
        for (uint32_t i = 0; i < w->n_hosts; i++)
            if (w->hosts[i].applied[s] != NULL)
                fprintf(w->out, " %u", i);
        fputs(")\n", w->out);
    }
}
