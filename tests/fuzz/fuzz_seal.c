/* Two replicas that seal, or three, and between them one who holds all that they say: loses, keeps, repeats, spoils and
 * redirects it, restarts them and changes their keys.
 *
 * Input: acts (enum seal_act), a byte each, and their arguments. Checked: what opens is what another one sealed, bit
 * by bit, for this very process, and opens once, within the window of its session and nowhere else; a handshake is
 * taken only as it was sent; nothing is answered that is larger; and when the attacker rests, they soon talk, whatever
 * he did. */
#include <sodium.h>

#include "paxos/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

enum {
    ENDS = 3,
    THIRD = 2,
    TAPE_MAX = 96,
    BODY_MAX = 64,
    SIZE_MOST = DATAGRAM_HEADER_SIZE + BODY_MAX,
    PATIENCE_USEC = 5000000,
    MANY = 1000,
    MANY_TIMES_MAX = 12, /* of an input */
    SESSIONS_MAX = 256,
};

struct end {
    struct seal *seal;
    unsigned boot, keys; /* keys: index of key_sets */
};

struct taped {
    size_t size;
    uint8_t bytes[SIZE_MOST], plain[SIZE_MOST];
    unsigned from, to, boot; /* boot: of the receiver, when this was sealed */
    bool opened;
};

/* By its salt, and who opened something of it. */
struct session {
    uint8_t salt[SEAL_NONCE_SIZE];
    unsigned to, boot;
    uint64_t newest; /* number that opened */
};

static const struct seal_keys key_sets[] = {
    {.n = 1, .keys = {"the first key is this one it is."}},
    {.n = 1, .keys = {"and this is the second of the tw"}},
    {.n = 2, .keys = {"the first key is this one it is.", "and this is the second of the tw"}},
    {.n = 2, .keys = {"and this is the second of the tw", "the first key is this one it is."}},
};

static struct end ends[ENDS];
static struct taped tape[TAPE_MAX]; /* a ring */
static struct session sessions[SESSIONS_MAX];
static size_t n_sessions;
static unsigned n_ends, n_many;
static uint64_t n_taped, now_usec, drawn;

static void draw(void *user, uint8_t *ret, size_t size)
{
    (void)user;
    memset(ret, 0, size);
    put_u64(ret, ++drawn);
}

/* Peers are named in the order of their ids. */
static size_t peer_of(unsigned i, unsigned other)
{
    return other < i ? other : other - 1;
}

static void start(unsigned i)
{
    struct end *e = &ends[i];
    replica_id_t peers[ENDS - 1];
    const struct seal_options o = {.self = (replica_id_t)i, .peers = peers, .n_peers = n_ends - 1, .draw = draw};
    for (unsigned other = 0; other < n_ends; other++)
        if (other != i)
            peers[peer_of(i, other)] = (replica_id_t)other;
    free(e->seal);
    e->seal = malloc(seal_size(n_ends - 1));
    fuzz_check(e->seal != NULL);
    seal_init(e->seal, &o);
    seal_set_keys(e->seal, &key_sets[e->keys]);
    e->boot++;
}

static void begin(unsigned from, uint8_t *bytes)
{
    const struct datagram_header h = {.from = (replica_id_t)from, .from_life = 5, .boot = ends[from].boot};
    struct datagram_writer w;
    datagram_begin(&w, bytes, DATAGRAM_BYTES_MIN, &h);
}

static struct taped *record(unsigned from, unsigned to)
{
    struct taped *t = &tape[n_taped++ % TAPE_MAX];
    *t = (struct taped){.from = from, .to = to, .boot = ends[to].boot};
    return t;
}

static void say(unsigned from, unsigned to, size_t size)
{
    struct taped t = {.size = DATAGRAM_HEADER_SIZE + size};
    uint8_t room[DATAGRAM_BYTES_MIN];
    begin(from, room);
    for (size_t i = 0; i < size; i++)
        room[DATAGRAM_HEADER_SIZE + i] = (uint8_t)(drawn + n_taped + i);
    memcpy(t.plain, room, t.size);
    if (!seal_datagram(ends[from].seal, peer_of(from, to), room, t.size, room))
        return;
    struct taped *kept = record(from, to);
    kept->size = t.size;
    memcpy(kept->bytes, room, t.size);
    memcpy(kept->plain + DATAGRAM_HEADER_SIZE, t.plain + DATAGRAM_HEADER_SIZE, size);
}

/* They are lost. */
static void say_many(unsigned from, unsigned to)
{
    uint8_t room[DATAGRAM_BYTES_MIN];
    if (n_many++ >= MANY_TIMES_MAX)
        return;
    for (int i = 0; i < MANY; i++) {
        begin(from, room);
        seal_datagram(ends[from].seal, peer_of(from, to), room, DATAGRAM_HEADER_SIZE + 1, room);
    }
}

/* Answers the first one's index on the tape. */
static uint64_t owed(unsigned from)
{
    uint64_t first = n_taped;
    for (;;) {
        uint8_t room[DATAGRAM_BYTES_MIN];
        size_t peer, size;
        begin(from, room);
        size = seal_next(ends[from].seal, now_usec, &peer, room);
        if (size == 0)
            return first;
        fuzz_check(peer < n_ends - 1 && size <= SEAL_HELLO_SIZE);
        struct taped *t = record(from, (unsigned)peer + (peer >= from));
        t->size = size;
        memcpy(t->bytes, room, size);
        /* For a peer and key: three sessions, an answer and a HELLO. */
        fuzz_check(n_taped - first <= UINT64_C(5) * SEAL_KEYS_MAX * (n_ends - 1));
    }
}

/* The taped one that these bytes are, if any, sent to `to`. */
static struct taped *find(unsigned to, const uint8_t *bytes, size_t size)
{
    for (uint64_t i = 0; i < TAPE_MAX && i < n_taped; i++)
        if (tape[i].to == to && tape[i].size == size && memcmp(tape[i].bytes, bytes, size) == 0)
            return &tape[i];
    return NULL;
}

static struct session *session_of(unsigned to, const uint8_t *bytes)
{
    for (size_t i = 0; i < n_sessions; i++) {
        struct session *k = &sessions[i];
        if (k->to == to && k->boot == ends[to].boot && memcmp(k->salt, bytes + AT_SALT, SEAL_NONCE_SIZE) == 0)
            return k;
    }
    return NULL;
}

/* Whether the window of its session has room for it. */
static bool is_late(unsigned to, const uint8_t *bytes)
{
    const struct session *k = session_of(to, bytes);
    uint64_t number = get_u64(bytes + AT_SEQ);
    return k != NULL && k->newest > number && k->newest - number >= SEAL_WINDOW;
}

static void note_opened(unsigned to, const uint8_t *bytes)
{
    struct session *k = session_of(to, bytes);
    uint64_t number = get_u64(bytes + AT_SEQ);
    if (k == NULL && n_sessions < SESSIONS_MAX) {
        k = &sessions[n_sessions++];
        *k = (struct session){.to = to, .boot = ends[to].boot};
        memcpy(k->salt, bytes + AT_SALT, SEAL_NONCE_SIZE);
    }
    if (k != NULL && number > k->newest)
        k->newest = number;
}

static void deliver(unsigned to, const uint8_t *from, size_t size)
{
    uint8_t *bytes = fuzz_copy(from, size), *plain = malloc(size > 0 ? size : 1);
    struct datagram_header h;
    if (plain == NULL)
        abort();
    if (datagram_header_read(bytes, size, &h) == DATAGRAM_OK && h.from < n_ends && h.from != to && h.to == to) {
        enum seal_result r = seal_open(ends[to].seal, peer_of(to, h.from), bytes, size, now_usec, plain);
        struct taped *t = find(to, bytes, size);
        if (r == SEAL_OPENED || (r == SEAL_EMPTY && h.kind == DATAGRAM_SEALED)) {
            fuzz_check(t != NULL && !t->opened && t->from == h.from && t->boot == ends[to].boot);
            fuzz_check(!is_late(to, bytes));
            t->opened = true;
            note_opened(to, bytes);
        }
        fuzz_check(r != SEAL_EMPTY || t != NULL);
        fuzz_check(r != SEAL_REPLAYED || t == NULL || t->opened || is_late(to, bytes));
        if (r == SEAL_OPENED)
            fuzz_check(memcmp(plain + DATAGRAM_HEADER_SIZE, t->plain + DATAGRAM_HEADER_SIZE,
                              size - DATAGRAM_HEADER_SIZE) == 0);
    }
    free(bytes);
    free(plain);
}

/* --- the attacker --- */

static struct taped *choose(struct fuzz_input *in)
{
    uint8_t i = fuzz_u8(in);
    return &tape[n_taped == 0 ? 0 : i % (n_taped < TAPE_MAX ? n_taped : TAPE_MAX)];
}

static void spoil(struct fuzz_input *in)
{
    struct taped t = *choose(in);
    uint16_t place = fuzz_u16(in);
    uint8_t bits = fuzz_u8(in);
    if (t.size == 0)
        return;
    t.bytes[place % t.size] ^= bits;
    deliver(t.to, t.bytes, t.size);
}

static void cut(struct fuzz_input *in)
{
    struct taped t = *choose(in);
    deliver(t.to, t.bytes, fuzz_u16(in) % (SIZE_MOST + 1));
}

/* The head of one, and the rest of another: so also another's tag, salt, receiver. */
static void splice(struct fuzz_input *in)
{
    struct taped t = *choose(in);
    const struct taped *other = choose(in);
    size_t from = fuzz_u8(in) % SIZE_MOST, until = from + fuzz_u8(in);
    for (size_t i = from; i < until && i < SIZE_MOST; i++)
        t.bytes[i] = other->bytes[i];
    deliver(t.bytes[AT_TO] % n_ends, t.bytes, t.size);
}

static void invent(struct fuzz_input *in)
{
    uint8_t bytes[SIZE_MOST] = {0}, choice = fuzz_u8(in);
    const uint8_t *from;
    size_t size, n;
    begin(choice & 1, bytes);
    bytes[AT_KIND] = choice >> 1 & 3;
    bytes[AT_TO] = 1 - (choice & 1);
    seal_key_id(key_sets[choice >> 3 & 1].keys[0], bytes + AT_KEY);
    size = fuzz_u8(in) % (SIZE_MOST - AT_SALT + 1);
    from = fuzz_take(in, size, &n);
    memcpy(bytes + AT_SALT, from, n);
    deliver(1 - (choice & 1), bytes, AT_SALT + size);
}

/* The high bit: the third one, where there is one. */
static unsigned who(uint8_t argument)
{
    return argument & 0x80 && n_ends > THIRD ? THIRD : argument & 1;
}

struct pair {
    unsigned from, to;
};

/* One of the first two, in the low bit, to the other one. The high bit: to the third, or, by the next bit, from it. */
static struct pair who_says(uint8_t argument)
{
    unsigned first = argument & 1;
    if (!(argument & 0x80) || n_ends == THIRD)
        return (struct pair){first, 1 - first};
    return argument & 2 ? (struct pair){THIRD, first} : (struct pair){first, THIRD};
}

static void act(struct fuzz_input *in)
{
    uint8_t what = fuzz_u8(in) % SEAL_ACTS, argument;
    struct pair pair;
    const struct taped *t;
    switch ((enum seal_act)what) {
    case SEAL_SAY:
        argument = fuzz_u8(in);
        pair = who_says(argument);
        say(pair.from, pair.to, (argument >> 1) % BODY_MAX + 1);
        break;
    case SEAL_OWE:
        owed(who(fuzz_u8(in)));
        break;
    case SEAL_DELIVER:
        t = choose(in);
        deliver(t->to, t->bytes, t->size);
        break;
    case SEAL_LAST:
        if (n_taped > 0) {
            t = &tape[(n_taped - 1) % TAPE_MAX];
            deliver(t->to, t->bytes, t->size);
        }
        break;
    case SEAL_SPOIL:
        spoil(in);
        break;
    case SEAL_CUT:
        cut(in);
        break;
    case SEAL_SPLICE:
        splice(in);
        break;
    case SEAL_INVENT:
        invent(in);
        break;
    case SEAL_RESTART:
        start(who(fuzz_u8(in)));
        break;
    case SEAL_WAIT:
        now_usec += fuzz_u8(in) * UINT64_C(4000);
        break;
    case SEAL_KEYS:
        argument = fuzz_u8(in);
        ends[who(argument)].keys = argument >> 1 & 3;
        seal_set_keys(ends[who(argument)].seal, &key_sets[argument >> 1 & 3]);
        break;
    case SEAL_SAY_MANY:
        pair = who_says(fuzz_u8(in));
        say_many(pair.from, pair.to);
        break;
    case SEAL_ACTS:
        break;
    }
}

/* --- when he rests --- */

static bool has_key(const struct seal_keys *keys, const struct seal_keys *other)
{
    for (uint32_t i = 0; i < keys->n; i++)
        if (memcmp(keys->keys[i], other->keys[0], SEAL_KEY_SIZE) == 0)
            return true;
    return false;
}

static void pass_owed(unsigned from)
{
    for (uint64_t i = owed(from); i < n_taped; i++) {
        const struct taped *t = &tape[i % TAPE_MAX];
        deliver(t->to, t->bytes, t->size);
    }
}

static bool gets_through(unsigned from, unsigned to)
{
    uint64_t i = n_taped;
    say(from, to, 1);
    if (n_taped == i)
        return false;
    const struct taped *t = &tape[i % TAPE_MAX];
    deliver(to, t->bytes, t->size);
    return t->opened;
}

/* Each must have the key that the other one seals with. */
static void expect_talk(unsigned a, unsigned b)
{
    bool both = false;
    if (!has_key(&key_sets[ends[a].keys], &key_sets[ends[b].keys]) ||
        !has_key(&key_sets[ends[b].keys], &key_sets[ends[a].keys]))
        return;
    for (uint64_t until_usec = now_usec + PATIENCE_USEC; !both; now_usec += 50000) {
        fuzz_check(now_usec < until_usec);
        for (unsigned round = 0; round < 4; round++) {
            pass_owed(a);
            pass_owed(b);
        }
        both = gets_through(a, b) & gets_through(b, a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    fuzz_check(sodium_init() >= 0);
    memset(tape, 0, sizeof tape);
    n_taped = drawn = 0;
    n_sessions = n_many = 0;
    now_usec = 1000000;
    uint8_t choices = fuzz_u8(&in);
    n_ends = choices & SEAL_THREE ? ENDS : ENDS - 1;
    for (unsigned i = 0; i < n_ends; i++) {
        ends[i].keys = choices & 3;
        start(i);
    }
    while (fuzz_left(&in) > 0)
        act(&in);
    for (unsigned i = 1; i < n_ends; i++)
        for (unsigned k = 0; k < i; k++)
            expect_talk(k, i);
    for (unsigned i = 0; i < ENDS; i++) {
        free(ends[i].seal);
        ends[i].seal = NULL;
    }
    return 0;
}
