/* One core against members that say anything that a datagram can hold: any ballot, slot, hash and value, in any order.
 *
 * Input: choices (1: a blank disk), then acts (enum). Checked: what host.h says, and that timers do not spin. */
#include "paxos/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/says.h"

enum { TIMERS_MAX = 5000, FETCHED_MAX = 8 };

/* --- what others say --- */

static struct says words;

/* Near where the core is by now. */
static struct says *says_now(void)
{
    struct replica_status s;
    replica_status(host.replica, &s);
    words.values = &host.values;
    words.configuration = host.identity.configuration;
    for (uint32_t n = 0; n < HOST_MEMBERS; n++)
        words.configuration.members[n].life = HOST_LIFE + 1 + n;
    words.cluster = replica_identity(host.replica)->cluster;
    words.bootstrap = host.identity.bootstrap;
    words.chosen = s.chosen;
    words.promised = s.promised;
    words.bid = host.bid;
    words.beat_seq = host.beat_seq;
    words.state_nonce = host.state_nonce;
    words.promise_slots = datagram_promise_slots(HOST_DATAGRAM_BYTES);
    return &words;
}

static void receive(struct fuzz_input *in, enum message_type type)
{
    uint8_t who = fuzz_u8(in);
    struct message m = {.type = type, .from = who % 2 ? 1 : HOST_MEMBERS};
    m.from_life = HOST_LIFE + m.from + (unsigned)who / 64; /* another one is in no configuration */
    says_fields(says_now(), in, &m);
    host_step((struct event){.type = EVENT_MESSAGE, .message = &m});
    says_forget(&m);
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
        m.heartbeat =
            (struct heartbeat){.followed = host.bid, .seq = ++words.seq, .commit = s.chosen, .chain = s.chain};
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
    s.value = says_value(says_now(), in, stream, &replica_identity(host.replica)->cluster);
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
    slot_t slots[] = {says_slot(says_now(), in), 0};
    slots[1] = says_slot(&words, in);
    host_step((struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = 2});
}

static void trim(struct fuzz_input *in)
{
    uint8_t text[TRIM_TEXT_SIZE], bytes[VALUE_HEADER_SIZE + TRIM_TEXT_SIZE];
    const struct value_fields f = {.type = VALUE_TRIM, .text = text, .text_size = sizeof text};
    struct value *v;
    put_u64(text, says_slot(says_now(), in));
    value_encode(&f, bytes);
    fuzz_check(values_copy(&host.values, bytes, sizeof bytes, &words.cluster, &v) == 0);
    host_step((struct event){.type = EVENT_TRIM, .trim = v});
    values_unref(v);
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
    case REPLICA_TRIM:
        trim(in);
        break;
    case REPLICA_COMMIT:
        host_step((struct event){.type = EVENT_COMMIT});
        break;
    case REPLICA_INSTALL:
        host_install(fuzz_u8(in));
        break;
    case REPLICA_ACTS:
    case REPLICA_MESSAGE:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum replica_act later[] = {REPLICA_TRIM, REPLICA_COMMIT, REPLICA_INSTALL};
    struct fuzz_input in = {data, data + size};
    words.seq = 0;
    host_begin(fuzz_u8(&in) % 2);
    while (fuzz_left(&in) > 0) {
        uint8_t b = fuzz_u8(&in);
        if (b < REPLICA_MESSAGE)
            act(&in, b < REPLICA_LATER ? (enum replica_act)(b % REPLICA_TRIM) : later[b % 3]);
        else
            receive(&in, (enum message_type)(MESSAGE_HEARTBEAT + (b - REPLICA_MESSAGE) % MESSAGE_TRANSFER));
    }
    host_restart(false);
    host_end();
    return 0;
}
