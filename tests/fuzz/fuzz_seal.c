/* Two replicas that seal, and between them one who holds all that they say: loses, keeps, repeats, spoils and redirects
 * it, restarts them and changes their keys.
 *
 * Input: acts (enum seal_act), a byte each, and their arguments. Checked: what opens is what the other one sealed, bit
 * by bit, for this very process, and opens once; a handshake is taken only as it was sent; nothing is answered that is
 * larger; and when the attacker rests, the two soon talk, whatever he did. */
#include <sodium.h>

#include "paxos/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

enum { ENDS = 2, TAPE_MAX = 96, BODY_MAX = 64, SIZE_MOST = DATAGRAM_HEADER_SIZE + BODY_MAX, PATIENCE_USEC = 5000000 };

struct end {
    struct seal *seal;
    unsigned boot, keys; /* keys: index of key_sets */
};

struct taped {
    size_t size;
    uint8_t bytes[SIZE_MOST], plain[SIZE_MOST];
    unsigned from, boot; /* boot: of the receiver, when this was sealed */
    bool opened;
};

static const struct seal_keys key_sets[] = {
    {.n = 1, .keys = {"the first key is this one it is."}},
    {.n = 1, .keys = {"and this is the second of the tw"}},
    {.n = 2, .keys = {"the first key is this one it is.", "and this is the second of the tw"}},
    {.n = 2, .keys = {"and this is the second of the tw", "the first key is this one it is."}},
};

static struct end ends[ENDS];
static struct taped tape[TAPE_MAX]; /* a ring */
static uint64_t n_taped, now_usec, drawn;

static void draw(void *user, uint8_t *ret, size_t size)
{
    (void)user;
    memset(ret, 0, size);
    put_u64(ret, ++drawn);
}

static void start(unsigned i)
{
    struct end *e = &ends[i];
    const replica_id_t peer = (replica_id_t)(1 - i);
    const struct seal_options o = {.self = (replica_id_t)i, .peers = &peer, .n_peers = 1, .draw = draw};
    free(e->seal);
    e->seal = malloc(seal_size(1));
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

static struct taped *record(unsigned from)
{
    struct taped *t = &tape[n_taped++ % TAPE_MAX];
    *t = (struct taped){.from = from, .boot = ends[1 - from].boot};
    return t;
}

static void say(unsigned from, size_t size)
{
    struct taped t = {.size = DATAGRAM_HEADER_SIZE + size};
    uint8_t room[DATAGRAM_BYTES_MIN];
    begin(from, room);
    for (size_t i = 0; i < size; i++)
        room[DATAGRAM_HEADER_SIZE + i] = (uint8_t)(drawn + n_taped + i);
    memcpy(t.plain, room, t.size);
    if (!seal_datagram(ends[from].seal, 0, room, t.size, room))
        return;
    struct taped *kept = record(from);
    kept->size = t.size;
    memcpy(kept->bytes, room, t.size);
    memcpy(kept->plain + DATAGRAM_HEADER_SIZE, t.plain + DATAGRAM_HEADER_SIZE, size);
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
        fuzz_check(peer == 0 && size <= SEAL_HELLO_SIZE);
        struct taped *t = record(from);
        t->size = size;
        memcpy(t->bytes, room, size);
        fuzz_check(n_taped - first <= 5 * SEAL_KEYS_MAX); /* under a key: three sessions, an answer and a HELLO */
    }
}

/* The taped one that these bytes are, if any, sent to `to`. */
static struct taped *find(unsigned to, const uint8_t *bytes, size_t size)
{
    for (uint64_t i = 0; i < TAPE_MAX && i < n_taped; i++)
        if (tape[i].from != to && tape[i].size == size && memcmp(tape[i].bytes, bytes, size) == 0)
            return &tape[i];
    return NULL;
}

static void deliver(unsigned to, const uint8_t *from, size_t size)
{
    uint8_t *bytes = fuzz_copy(from, size), *plain = malloc(size > 0 ? size : 1);
    struct datagram_header h;
    if (plain == NULL)
        abort();
    if (datagram_header_read(bytes, size, &h) == DATAGRAM_OK && h.from == 1 - to && h.to == to) {
        enum seal_result r = seal_open(ends[to].seal, 0, bytes, size, now_usec, plain);
        struct taped *t = find(to, bytes, size);
        if (r == SEAL_OPENED || (r == SEAL_EMPTY && h.kind == DATAGRAM_SEALED)) {
            fuzz_check(t != NULL && !t->opened && t->boot == ends[to].boot);
            t->opened = true;
        }
        fuzz_check(r != SEAL_EMPTY || t != NULL);
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
    deliver(1 - t.from, t.bytes, t.size);
}

static void cut(struct fuzz_input *in)
{
    struct taped t = *choose(in);
    deliver(1 - t.from, t.bytes, fuzz_u16(in) % (SIZE_MOST + 1));
}

/* The head of one, and the rest of another: so also another's tag, salt, receiver. */
static void splice(struct fuzz_input *in)
{
    struct taped t = *choose(in);
    const struct taped *other = choose(in);
    size_t from = fuzz_u8(in) % SIZE_MOST, until = from + fuzz_u8(in);
    for (size_t i = from; i < until && i < SIZE_MOST; i++)
        t.bytes[i] = other->bytes[i];
    deliver(t.bytes[AT_TO] & 1, t.bytes, t.size);
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

static void act(struct fuzz_input *in)
{
    uint8_t what = fuzz_u8(in) % SEAL_ACTS, argument;
    const struct taped *t;
    switch ((enum seal_act)what) {
    case SEAL_SAY:
        argument = fuzz_u8(in);
        say(argument & 1, (argument >> 1) % BODY_MAX + 1);
        break;
    case SEAL_OWE:
        owed(fuzz_u8(in) & 1);
        break;
    case SEAL_DELIVER:
        t = choose(in);
        deliver(1 - t->from, t->bytes, t->size);
        break;
    case SEAL_LAST:
        if (n_taped > 0) {
            t = &tape[(n_taped - 1) % TAPE_MAX];
            deliver(1 - t->from, t->bytes, t->size);
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
        start(fuzz_u8(in) & 1);
        break;
    case SEAL_WAIT:
        now_usec += fuzz_u8(in) * UINT64_C(4000);
        break;
    case SEAL_KEYS:
        argument = fuzz_u8(in);
        ends[argument & 1].keys = argument >> 1 & 3;
        seal_set_keys(ends[argument & 1].seal, &key_sets[argument >> 1 & 3]);
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
        deliver(1 - from, t->bytes, t->size);
    }
}

static bool gets_through(unsigned from)
{
    uint64_t i = n_taped;
    say(from, 1);
    if (n_taped == i)
        return false;
    const struct taped *t = &tape[i % TAPE_MAX];
    deliver(1 - from, t->bytes, t->size);
    return t->opened;
}

/* Each must have the key that the other one seals with. */
static void expect_talk(void)
{
    bool both = false;
    if (!has_key(&key_sets[ends[0].keys], &key_sets[ends[1].keys]) ||
        !has_key(&key_sets[ends[1].keys], &key_sets[ends[0].keys]))
        return;
    for (uint64_t until_usec = now_usec + PATIENCE_USEC; !both; now_usec += 50000) {
        fuzz_check(now_usec < until_usec);
        for (unsigned round = 0; round < 4; round++) {
            pass_owed(0);
            pass_owed(1);
        }
        both = gets_through(0) & gets_through(1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    fuzz_check(sodium_init() >= 0);
    memset(tape, 0, sizeof tape);
    n_taped = drawn = 0;
    now_usec = 1000000;
    ends[0].keys = ends[1].keys = fuzz_u8(&in) & 3;
    start(0);
    start(1);
    while (fuzz_left(&in) > 0)
        act(&in);
    expect_talk();
    for (unsigned i = 0; i < ENDS; i++) {
        free(ends[i].seal);
        ends[i].seal = NULL;
    }
    return 0;
}
