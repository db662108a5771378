/* One core against members that say anything that a datagram can hold: any ballot, slot, hash and value, in any order.
 *
 * Input: choices (1: a blank disk), then acts (enum). Checked: what host.h says, and that timers do not spin. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/inputs.h"

enum { TIMERS_MAX = 5000, ENTRIES = 4, FETCHED_MAX = 8 };

static const struct hash128 no_key;
static uint64_t peer_seq;

/* --- what others say --- */

static slot_t take_slot(struct fuzz_input *in)
{
    static const slot_t odd[] = {0, 1, 2, UINT64_C(1) << 61, DATAGRAM_NUMBER_MAX - 1, DATAGRAM_NUMBER_MAX};
    uint8_t b = fuzz_u8(in);
    slot_t chosen = replica_chosen(host.replica);
    if (b >= 0xf0)
        return odd[b % (sizeof odd / sizeof odd[0])];
    b %= 64;
    return chosen + b < 24 ? b : chosen + b - 24;
}

static struct ballot take_ballot(struct fuzz_input *in)
{
    struct replica_status s;
    uint8_t b = fuzz_u8(in);
    struct ballot r = {.round = b / 32 + 1, .gen = 1, .id = (replica_id_t)(1 + b % HOST_MEMBERS)};
    replica_status(host.replica, &s);
    switch (b / 16 % 8) {
    case 0:
        return (struct ballot){0};
    case 1:
        return s.promised;
    case 2:
        return host.bid;
    case 3:
    case 4:
        r.round = s.promised.round < DATAGRAM_NUMBER_MAX ? s.promised.round + 1 : s.promised.round;
        break;
    case 5:
        r.round = DATAGRAM_NUMBER_MAX;
        r.gen = b % 2;
        break;
    default:
        break;
    }
    return r;
}

static struct hash128 take_hash(struct fuzz_input *in)
{
    struct hash128 h = {{0}};
    h.bytes[0] = fuzz_u8(in) % 4;
    return h;
}

static struct value *take_value(struct fuzz_input *in, uint64_t stream, const struct hash128 *key)
{
    static const enum value_type types[] = {VALUE_NOOP, VALUE_BARRIER, VALUE_CONFIG, VALUE_MESSAGE};
    uint8_t configuration[CONFIGURATION_BYTES_MAX], b = fuzz_u8(in);
    struct value_fields f = {.type = stream > 0 ? VALUE_MESSAGE : types[b % 8 < 4 ? b % 4 : 3], .time_usec = b};
    if (f.type == VALUE_CONFIG) {
        struct configuration c = host.identity.configuration;
        for (uint32_t n = 0; n < HOST_MEMBERS; n++)
            c.members[n].life = HOST_LIFE + 1 + n;
        c.alpha += b / 64;
        f.text = configuration;
        f.text_size = (uint32_t)configuration_encode(&c, configuration);
    } else if (f.type == VALUE_MESSAGE) {
        f.stream = stream > 0 ? stream : b / 8 % 4;
        f.n = b / 32;
        f.since = take_slot(in);
        f.author = f.key = b & 16 ? "a" : "b";
        f.author_size = f.key_size = 1;
        f.text = "tex";
        f.text_size = 1 + b % 3;
    }
    return host_value(&f, key);
}

static struct entry entries[ENTRIES];
static struct promised_entry promised[ENTRIES];

static uint32_t take_entries(struct fuzz_input *in, bool ascending)
{
    uint32_t n = fuzz_u8(in) % (ENTRIES + 1);
    for (uint32_t i = 0; i < n; i++) {
        slot_t slot = take_slot(in);
        if (ascending && i > 0 && slot <= entries[i - 1].slot)
            slot = entries[i - 1].slot + 1;
        entries[i] = (struct entry){.slot = slot, .hops = (uint8_t)(slot % 4)};
        entries[i].value = take_value(in, 0, &replica_identity(host.replica)->cluster);
    }
    return n;
}

static void take_promise(struct fuzz_input *in, struct promise *p)
{
    *p = (struct promise){.ballot = take_ballot(in), .from = take_slot(in), .page = fuzz_u8(in) % 4, .last = true};
    uint8_t b = fuzz_u8(in);
    p->page_slots = b % 2 ? datagram_promise_slots(HOST_DATAGRAM_BYTES) : b;
    p->page_slots += p->page_slots == 0;
    p->last = b & 2;
    p->chosen = take_slot(in);
    p->n_entries = fuzz_u8(in) % (ENTRIES + 1);
    p->entries = promised;
    for (uint32_t i = 0; i < p->n_entries; i++) {
        promised[i] = (struct promised_entry){.slot = take_slot(in), .ballot = take_ballot(in)};
        b = fuzz_u8(in);
        promised[i].chosen = b % 2;
        promised[i].size = b;
        promised[i].hash = take_hash(in);
    }
}

static void take_heartbeat(struct fuzz_input *in, struct heartbeat *h)
{
    *h = (struct heartbeat){.ballot = take_ballot(in), .followed = take_ballot(in), .commit = take_slot(in)};
    uint8_t b = fuzz_u8(in);
    h->leading = b & 1;
    h->happy = b & 2;
    h->seq = b & 4 ? b : ++peer_seq;
    h->chain = take_hash(in);
    h->space_bytes = b & 8 ? 0 : UINT32_MAX;
    h->n_echoes = b >> 4;
    for (uint32_t i = 0; i < h->n_echoes; i++) {
        b = fuzz_u8(in);
        h->echoes[i] = (struct echo){.id = b % 8, .seq = b & 8 ? host.beat_seq : b, .age_usec = (uint32_t)b << 12};
    }
}

static void take_state(struct fuzz_input *in, struct message *m)
{
    struct state *s = &m->state;
    uint8_t b = fuzz_u8(in);
    s->nonce = b & 1;
    s->answer = b & 2 ? host.state_nonce : b & 1;
    s->status = (enum identity_status)(IDENTITY_EMPTY + b / 4 % 4);
    s->cluster = b & 16 ? replica_identity(host.replica)->cluster : take_hash(in);
    s->bootstrap = b & 32 ? take_hash(in) : host.identity.bootstrap;
    if (b & 64)
        m->from_life = b;
    if (b & 128)
        s->slot0 = take_value(in, 0, &no_key); /* which brings the cluster's id */
}

static void take_fields(struct fuzz_input *in, struct message *m)
{
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        take_heartbeat(in, &m->heartbeat);
        break;
    case MESSAGE_PREPARE:
        m->prepare = (struct prepare){.ballot = take_ballot(in), .from = take_slot(in), .page = fuzz_u8(in)};
        if (m->prepare.page > 0xf0)
            m->prepare.page = UINT32_MAX - m->prepare.page % 4;
        break;
    case MESSAGE_PROMISE:
        take_promise(in, &m->promise);
        break;
    case MESSAGE_ACCEPT:
        m->accept = (struct accept){.ballot = take_ballot(in), .commit = take_slot(in), .entries = entries};
        m->accept.n_entries = take_entries(in, true);
        break;
    case MESSAGE_ACCEPTED:
        m->accepted = (struct accepted){.ballot = take_ballot(in), .base = take_slot(in), .chosen = take_slot(in)};
        m->accepted.n_words = fuzz_u8(in) % (ACCEPTED_WORDS_MAX + 1);
        memset(m->accepted.words, fuzz_u8(in), sizeof m->accepted.words);
        m->accepted.space_bytes = fuzz_u8(in) * 256u;
        break;
    case MESSAGE_NACK:
        m->nack = (struct nack){.rejected = take_ballot(in), .promised = take_ballot(in)};
        break;
    case MESSAGE_FETCH:
        m->fetch = (struct fetch){.from = take_slot(in), .until = take_slot(in), .ballot = take_ballot(in)};
        m->fetch.by_hash = fuzz_u8(in) % 2;
        m->fetch.hash = take_hash(in);
        m->fetch.bytes_max = fuzz_u8(in) * 64u;
        break;
    case MESSAGE_CHOSEN:
        m->chosen = (struct chosen){.first_kept = take_slot(in), .entries = entries};
        m->chosen.n_entries = take_entries(in, false);
        break;
    case MESSAGE_SUBMIT:
        m->submit = (struct submit){.entries = entries, .n_entries = take_entries(in, false)};
        break;
    case MESSAGE_POSITION:
    case MESSAGE_ANSWER:
        m->position = (struct position){.nonce = fuzz_u8(in), .slot = take_slot(in)};
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        m->confirm = (struct confirm){.ballot = take_ballot(in), .nonce = fuzz_u8(in)};
        break;
    case MESSAGE_BODY:
        m->body = (struct entry){.slot = take_slot(in), .ballot = take_ballot(in)};
        m->body.value = take_value(in, 0, &replica_identity(host.replica)->cluster);
        break;
    case MESSAGE_STATE:
        take_state(in, m);
        break;
    case MESSAGE_TRANSFER:
        m->transfer = (struct transfer){.ballot = take_ballot(in), .target = fuzz_u8(in) % 4};
        break;
    default:
        break;
    }
}

static void forget_values(struct message *m, uint32_t n_entries)
{
    for (uint32_t i = 0; i < n_entries; i++)
        values_unref(entries[i].value);
    if (m->type == MESSAGE_BODY)
        values_unref(m->body.value);
    if (m->type == MESSAGE_STATE)
        values_unref(m->state.slot0);
}

static void receive(struct fuzz_input *in, enum message_type type)
{
    struct message m = {.type = type, .from = fuzz_u8(in) % 2 ? 1 : HOST_MEMBERS};
    uint32_t n_entries = 0;
    m.from_life = HOST_LIFE + m.from;
    take_fields(in, &m);
    if (type == MESSAGE_ACCEPT)
        n_entries = m.accept.n_entries;
    if (type == MESSAGE_CHOSEN)
        n_entries = m.chosen.n_entries;
    if (type == MESSAGE_SUBMIT)
        n_entries = m.submit.n_entries;
    host_step((struct event){.type = EVENT_MESSAGE, .message = &m});
    forget_values(&m, n_entries);
}

/* --- as proper members do, so that it gets somewhere --- */

static void receive_from(replica_id_t id, struct message m)
{
    m.from = id;
    m.from_life = HOST_LIFE + id;
    host_step((struct event){.type = EVENT_MESSAGE, .message = &m});
}

static void beat(uint8_t how)
{
    struct replica_status s;
    replica_status(host.replica, &s);
    for (replica_id_t id = 1; id <= HOST_MEMBERS; id += 2) {
        struct message m = {.type = MESSAGE_HEARTBEAT};
        m.heartbeat = (struct heartbeat){.followed = host.bid, .seq = ++peer_seq, .commit = s.chosen, .chain = s.chain};
        if (how & 1 && id == 1) {
            m.heartbeat.ballot = m.heartbeat.followed = (struct ballot){.round = how, .gen = 1, .id = 1};
            m.heartbeat.happy = m.heartbeat.leading = how & 2;
        }
        m.heartbeat.space_bytes = UINT32_MAX;
        m.heartbeat.n_echoes = 1;
        m.heartbeat.echoes[0] = (struct echo){.id = HOST_ID, .seq = host.beat_seq};
        receive_from(id, m);
    }
}

static void promise_to_it(replica_id_t id)
{
    const struct promise p = {.ballot = host.bid,
                              .from = host.prepare_from,
                              .page_slots = datagram_promise_slots(HOST_DATAGRAM_BYTES),
                              .last = true};
    receive_from(id, (struct message){.type = MESSAGE_PROMISE, .promise = p});
}

static void ack(replica_id_t id)
{
    struct accepted a = {.ballot = host.accept_ballot, .base = host.accept_slot, .n_words = 1, .space_bytes = 1 << 20};
    a.words[0] = UINT64_MAX;
    receive_from(id, (struct message){.type = MESSAGE_ACCEPTED, .accepted = a});
}

/* --- as its host and clients do --- */

static void wait(uint64_t usec)
{
    uint64_t until_usec = host.now_usec + usec;
    for (int i = 0; host.wake_usec <= until_usec; i++) {
        fuzz_check(i < TIMERS_MAX);
        if (host.wake_usec > host.now_usec)
            host.now_usec = host.wake_usec;
        host_step((struct event){.type = EVENT_TIMER});
    }
    host.now_usec = until_usec;
}

static void answer_fetch(void)
{
    struct entry fetched[FETCHED_MAX];
    const struct fetch_request f = host.fetch;
    size_t n = 0;
    if (!f.wanted)
        return;
    host.fetch.wanted = false;
    fuzz_check(f.until <= host.applied);
    for (slot_t s = f.from; s <= f.until && n < FETCHED_MAX && s < HOST_LOG_MAX && host.log[s].bytes != NULL; s++) {
        fetched[n] = (struct entry){.slot = s};
        fuzz_check(values_copy(&host.values, host.log[s].bytes, host.log[s].size,
                               &replica_identity(host.replica)->cluster, &fetched[n].value) == 0);
        n++;
    }
    host_step((struct event){.type = EVENT_FETCHED, .to = f.to, .fetched = fetched, .n_fetched = n});
    for (size_t i = 0; i < n; i++)
        values_unref(fetched[i].value);
}

/* A free cookie; 0: none. */
static uint64_t open_call(void)
{
    for (uint64_t i = 0; i < HOST_CALLS_MAX; i++) {
        if (!host.calls[i]) {
            host.calls[i] = true;
            return i + 1;
        }
    }
    return 0;
}

static void submit(struct fuzz_input *in)
{
    struct submission s = {.cookie = open_call()};
    uint64_t stream = 1 + fuzz_u8(in) % 4;
    if (s.cookie == 0)
        return;
    s.value = take_value(in, stream, &replica_identity(host.replica)->cluster);
    host_step((struct event){.type = EVENT_SUBMIT, .submissions = &s, .n_submissions = 1});
    values_unref(s.value);
}

static void cancel(uint64_t cookie)
{
    if (!host.calls[cookie - 1])
        return;
    host.calls[cookie - 1] = false; /* from here on it is silent about it */
    host_step((struct event){.type = EVENT_CANCEL, .cookie = cookie});
}

static void skip(struct fuzz_input *in)
{
    slot_t slots[] = {take_slot(in), 0};
    slots[1] = take_slot(in);
    host_step((struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = 2});
}

static void ask_position(void)
{
    uint64_t cookie = open_call();
    if (cookie != 0)
        host_step((struct event){.type = EVENT_POSITION, .cookie = cookie});
}

static void act(struct fuzz_input *in, enum replica_act a)
{
    switch (a) {
    case REPLICA_WAIT:
        wait(fuzz_u8(in) * UINT64_C(5000));
        break;
    case REPLICA_DURABLE:
        host_make_durable();
        host_step((struct event){.type = EVENT_DURABLE, .durable_seq = host.seq});
        break;
    case REPLICA_RESTART:
        host_restart(fuzz_u8(in) % 2);
        break;
    case REPLICA_BEAT:
        beat(fuzz_u8(in));
        break;
    case REPLICA_PROMISE:
        promise_to_it(fuzz_u8(in) % 2 ? 1 : HOST_MEMBERS);
        break;
    case REPLICA_ACK:
        ack(fuzz_u8(in) % 2 ? 1 : HOST_MEMBERS);
        break;
    case REPLICA_FETCHED:
        answer_fetch();
        break;
    case REPLICA_SUBMIT:
        submit(in);
        break;
    case REPLICA_POSITION:
        ask_position();
        break;
    case REPLICA_CANCEL:
        cancel(1 + fuzz_u8(in) % HOST_CALLS_MAX);
        break;
    case REPLICA_SKIP:
        skip(in);
        break;
    case REPLICA_TRANSFER:
        host_step((struct event){.type = EVENT_TRANSFER, .target = fuzz_u8(in) % 5});
        break;
    case REPLICA_SPACE:
        host_step((struct event){.type = EVENT_SPACE, .space = fuzz_u8(in) % 2});
        break;
    case REPLICA_BOOTSTRAP:
        host_step((struct event){.type = EVENT_BOOTSTRAP});
        break;
    case REPLICA_ACTS:
    case REPLICA_MESSAGE:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    peer_seq = 0;
    host_begin(fuzz_u8(&in) % 2);
    while (fuzz_left(&in) > 0) {
        uint8_t b = fuzz_u8(&in);
        if (b < REPLICA_MESSAGE)
            act(&in, (enum replica_act)(b % REPLICA_ACTS));
        else
            receive(&in, (enum message_type)(MESSAGE_HEARTBEAT + (b - REPLICA_MESSAGE) % MESSAGE_TRANSFER));
    }
    host_restart(false);
    host_end();
    return 0;
}
