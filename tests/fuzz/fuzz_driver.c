/* The daemon's driver against members that say anything: three hosts of the simulator (tests/sim/sim.h), into whose
 * network the input puts datagrams of its own.
 *
 * In an honest cluster those are such that a host must refuse, each for a reason that the input names (enum
 * driver_guard), or that do no harm; chunks and pages that are wrong or cut; and true datagrams that are changed, or
 * come again. All that the simulator's observer and clients demand then holds, and in the end the cluster is healed and
 * must serve. In one with a liar (cluster_options.liar), a member, and that one alone, says whatever the input likes,
 * with proper headers and hashes: what hosts owe their own disks holds, and nobody crashes or grows. */
#include "tests/fuzz/fuzz.h"

#include "host/driver_internal.h"
#include "journal/journal.h"
#include "tests/fuzz/hang.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/intrusion.h"
#include "tests/fuzz/pages.h"
#include "tests/fuzz/says.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum {
    HOSTS = INTRUSION_HOSTS,
    STEPS_MAX = 12000,
    SECONDS_MAX = 30, /* simulated ones, of the acts */
    OPERATIONS_MAX = 400,
    SUBMITS_MAX = 200, /* where one lies */
};

static struct {
    struct trouble trouble; /* whose disks rotted */
    uint64_t n_submitted, n_operations;
    struct session *sessions[HOSTS];
    struct values values;
} world;

/* --- what the input says --- */

static bool is_harmless(enum message_type type)
{
    return type == MESSAGE_FETCH || type == MESSAGE_POSITION || type == MESSAGE_TRANSFER || type == MESSAGE_INFO ||
           type == MESSAGE_FLUSH || type == MESSAGE_FLUSHED || type == MESSAGE_CHECKPOINT_FETCH;
}

static void spoil_hashes(struct says *s, struct message *m)
{
    for (uint32_t i = 0; i < SAYS_ENTRIES_MAX; i++) {
        if (s->entries[i].value != NULL)
            s->entries[i].value->hash.bytes[3] ^= 1;
    }
    if (m->type == MESSAGE_BODY)
        m->body.value->hash.bytes[3] ^= 1;
}

/* Whether hashes are all that holds it together. */
static bool has_values(const struct message *m)
{
    return (m->type == MESSAGE_ACCEPT && m->accept.n_entries > 0) ||
           (m->type == MESSAGE_CHOSEN && m->chosen.n_entries > 0) ||
           (m->type == MESSAGE_SUBMIT && m->submit.n_entries > 0) || m->type == MESSAGE_BODY;
}

static struct says make_says(struct cluster *c, struct host *to)
{
    struct replica_status s;
    const struct identity *i = replica_identity(to->replica);
    const struct heard *heard = intrusion_heard(to);
    replica_status(to->replica, &s);
    return (struct says){.values = &world.values,
                         .configuration = i->configuration,
                         .cluster = i->cluster,
                         .bootstrap = i->bootstrap,
                         .chosen = s.chosen,
                         .promised = s.promised,
                         .bid = heard->bid,
                         .beat_seq = heard->beat_seq,
                         .state_nonce = heard->state_nonce,
                         .seq = 1 << 20,
                         .promise_slots = c->options.promise_page_slots,
                         .text_bytes_max = c->options.message_bytes_max};
}

/* The one that speaks is another than who hears it; where one lies, that one. NULL: it is not to be. */
static struct host *choose_hearer(struct cluster *c, uint8_t who, uint32_t *ret_from)
{
    uint32_t to = who % HOSTS, from = (to + 1 + who / HOSTS % (HOSTS - 1)) % HOSTS;
    *ret_from = c->options.liar ? INTRUSION_LIAR : from;
    if (to == *ret_from || !host_is_usable(&c->hosts[to]))
        return NULL;
    return &c->hosts[to];
}

static void say_something(struct cluster *c, struct fuzz_input *in)
{
    static const enum message_type more[] = {MESSAGE_INFO, MESSAGE_FLUSH, MESSAGE_FLUSHED, MESSAGE_CHECKPOINT_FETCH};
    uint32_t from;
    size_t size;
    struct host *to = choose_hearer(c, fuzz_u8(in), &from);
    uint8_t type = fuzz_u8(in) % (MESSAGE_TRANSFER + 4);
    enum driver_guard guard = (enum driver_guard)(fuzz_u8(in) % GUARDS);
    struct fuzz_input fields;
    fields.at = fuzz_take(in, fuzz_u8(in), &size);
    fields.end = fields.at + size;
    if (to == NULL)
        return;
    struct says s = make_says(c, to);
    struct message m = {.type = type < MESSAGE_TRANSFER ? (enum message_type)(type + 1) : more[type - MESSAGE_TRANSFER],
                        .from_life = c->hosts[from].disk.identity.life};
    says_fields(&s, &fields, &m);
    if (!c->options.liar && guard == GUARD_NONE && !is_harmless(m.type))
        guard = GUARD_LIFE;
    if (guard == GUARD_HASH && !has_values(&m))
        guard = GUARD_CLUSTER;
    if (m.type == MESSAGE_STATE && (guard == GUARD_LIFE || guard == GUARD_ID)) /* which are told by those */
        guard = GUARD_CHECKSUM;
    if (guard == GUARD_HASH)
        spoil_hashes(&s, &m);
    intrusion_say(c, from, to, &m, guard);
    says_forget(&m);
}

/* --- clients --- */

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    (void)user, (void)tag, (void)result, (void)slot;
}

/* Where one lies, of what is chosen nothing can be said. */
static void submit_unwatched(struct host *h, uint32_t n, size_t text_size)
{
    static const char text[1024];
    char key[16];
    for (uint32_t i = 0; i < n && world.n_submitted < SUBMITS_MAX; i++) {
        char filled[sizeof text];
        memset(filled, 'x', sizeof filled);
        struct submit_request q = {.author = "a", .author_size = 1, .key = key, .text = filled};
        q.key_size = (size_t)snprintf(key, sizeof key, "k%lu", world.n_submitted++);
        q.text_size = text_size < sizeof filled ? text_size : sizeof filled;
        world_enter(h);
        if (world.sessions[h->index] == NULL)
            world.sessions[h->index] = driver_session_open(h->driver, settled, NULL);
        driver_submit(world.sessions[h->index], &q);
    }
    host_poke(h);
}

static void submit(struct cluster *c, struct host *h, uint32_t n, bool is_long)
{
    if (!host_is_usable(h) || h->driver->stopping)
        return;
    if (c->options.liar) {
        submit_unwatched(h, n, is_long ? 1024 : 10);
        return;
    }
    clients_get(c)->options.long_permille = is_long ? 1000 : 0;
    clients_get(c)->options.text_bytes_max = c->options.message_bytes_max;
    for (; n > 0 && world.n_operations < OPERATIONS_MAX; n--)
        world.n_operations = clients_send(c, h->index, 0, NULL);
}

static void flushed(void *user, const struct flush_result *results, size_t n)
{
    (void)user, (void)results, (void)n;
}

static void flush(struct cluster *c, struct host *h, bool all)
{
    if (!host_is_usable(h))
        return;
    if (!c->options.liar) {
        clients_flush(c, h->index, all);
        return;
    }
    world_enter(h);
    driver_flush(h->driver, all, 1000, flushed, NULL);
    host_poke(h);
}

/* --- acts --- */

static void crash(struct host *h, bool cut_all)
{
    world.sessions[h->index] = NULL;
    host_crash(h, cut_all);
}

struct segments {
    uint64_t first, last; /* numbers; 0: there is none */
};

static int take_name(void *user, const char *name)
{
    struct segments *s = user;
    uint64_t number;
    if (sscanf(name, "segment-%16lx", &number) != 1)
        return 0;
    if (s->first == 0 || number < s->first)
        s->first = number;
    if (number > s->last)
        s->last = number;
    return 0;
}

/* Anywhere by the seed, or at a place of a full segment. */
static void rot(struct cluster *c, struct host *h, uint8_t how, uint16_t place)
{
    struct vfs_memory *m = h->disk.memory;
    const struct vfs *vfs = vfs_memory_vfs(m);
    struct segments s = {0};
    char name[32];
    size_t size = 0;
    vfs->list(vfs->context, take_name, &s);
    if (h->refused || s.last == s.first || !trouble_may_lose(c, &world.trouble, h->index))
        return;
    if (how >> 7) {
        disk_rot(h);
        return;
    }
    snprintf(name, sizeof name, "segment-%016lx", s.first + how / HOSTS % (s.last - s.first));
    vfs_memory_bytes(m, name, &size);
    if (size == 0)
        return;
    vfs_memory_flip(m, name, place % size, 1);
    h->disk.n_rot++;
}

static void cut(struct cluster *c, uint32_t host)
{
    network_isolate(c, host, !c->network.cut[host][(host + 1) % HOSTS]);
}

static void act(struct cluster *c, enum driver_act a, struct fuzz_input *in)
{
    if (a == DRIVER_SAY)
        say_something(c, in);
    else if (a == DRIVER_PAGE)
        answers_take_page(in);
    else if (a == DRIVER_CHECKPOINT)
        answers_take_checkpoint(in);
    if (a == DRIVER_SAY || a == DRIVER_PAGE || a == DRIVER_CHECKPOINT)
        return;
    uint8_t how = fuzz_u8(in);
    struct host *h = &c->hosts[how % HOSTS];
    if (a == DRIVER_RUN) {
        for (unsigned i = 0; i <= how && cluster_step(c); i++)
            ;
    } else if (a == DRIVER_WAIT)
        cluster_run(c, how * 5 * MSEC);
    else if (a == DRIVER_SUBMIT || a == DRIVER_LOAD)
        submit(c, h, 1 + how / HOSTS % 32, a == DRIVER_LOAD);
    else if (a == DRIVER_CHANGE)
        intrusion_change(how);
    else if (a == DRIVER_AGAIN)
        intrusion_again(c, how);
    else if (a == DRIVER_CRASH)
        crash(h, how >> 7);
    else if (a == DRIVER_START)
        host_start(h);
    else if (a == DRIVER_CUT)
        cut(c, h->index);
    else if (a == DRIVER_ROT)
        rot(c, h, how, fuzz_u16(in));
    else if (a == DRIVER_FLUSH)
        flush(c, h, how / HOSTS % 2);
    else if (a == DRIVER_READ && host_is_usable(h) && !c->options.liar)
        clients_read(c, h->index);
    else if (a == DRIVER_MUTE)
        intrusion_mute();
}

static struct cluster_options choose_sizes(struct fuzz_input *in)
{
    struct cluster_options o = cluster_defaults(fuzz_u8(in));
    uint8_t shape = fuzz_u8(in);
    o.trace = o.trace_print = getenv("FUZZ_TRACE") != NULL;
    o.n_hosts = HOSTS;
    o.liar = shape & DRIVER_LIAR;
    o.blank = (shape & DRIVER_BLANK) != 0 && !o.liar;
    o.sealed = (shape & DRIVER_SEALED) != 0 && !o.liar;
    o.alpha = 16;
    o.dedup_slots = 64;
    o.streams_max = 8;
    o.submissions_max = 64;
    o.promise_page_slots = 4;
    o.proposal_bytes_max = 1 << 16;
    o.message_bytes_max = 6000;
    o.datagram_bytes = (shape & DRIVER_SMALL) != 0 ? 512 : 1200;
    o.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    o.rot_sealed_permille = 900;
    o.checkpoint_bytes = (shape & (DRIVER_CHECKPOINTS | DRIVER_SHORT_LIVED)) != 0 ? 8 << 10 : 0;
    o.retain_bytes = (shape & DRIVER_SHORT_LIVED) != 0 ? JOURNAL_SEGMENT_BYTES_MIN : 64 * JOURNAL_SEGMENT_BYTES_MIN;
    o.scrub_usec = (shape & DRIVER_SCRUB) != 0 ? 1 * SECOND : 0;
    return o;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    signal(SIGALRM, hang_look);
    return 0;
}

static void finish(struct cluster *c)
{
    intrusion_end(c);
    if (!c->options.liar) {
        clients_stop(c);
        cluster_heal(c);
        cluster_demand_rest(c);
    }
    for (uint32_t i = 0; i < HOSTS; i++) {
        if (host_is_usable(&c->hosts[i]))
            memory_check(&c->hosts[i]);
    }
    cluster_free(c);
    values_done(&world.values);
    hang_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    const struct cluster_options options = choose_sizes(&in);
    cluster_set_failed(abort); /* which is what a fuzzer looks out for */
    struct cluster *c = cluster_make(&options);
    memset(&world, 0, sizeof world);
    values_init(&world.values);
    hang_begin();
    answers_begin();
    intrusion_begin(c, answers_give);
    const uint64_t end_usec = c->now_usec + SECONDS_MAX * SECOND;
    while (c->steps < STEPS_MAX && c->now_usec < end_usec && fuzz_left(&in) > 0)
        act(c, (enum driver_act)(fuzz_u8(&in) % DRIVER_ACTS), &in);
    finish(c);
    return 0;
}
