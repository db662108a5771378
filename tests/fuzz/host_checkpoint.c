/* A peer's checkpoint, of a log of its own. */
#include "paxos/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"

enum { MADE_BYTES_MAX = 1 << 16, TIME_USEC = 1000000 };

static void record(struct replica *r, enum record_type type, slot_t slot, struct value *v)
{
    struct effects e;
    fuzz_check(replica_restore(r, &(struct record){.type = type, .slot = slot, .value = v}, &e));
    values_release(e.released);
}

static void apply(struct replica *r, struct values *values, const struct value_fields *f)
{
    uint8_t encoded[VALUE_HEADER_SIZE + 64];
    slot_t slot = replica_chosen(r) + 1;
    struct value *v;
    value_encode(f, encoded);
    fuzz_check(values_copy(values, encoded, (uint32_t)value_encoded_size(f), &replica_identity(r)->cluster, &v) == 0);
    record(r, RECORD_CHOSEN, slot, v);
    values_unref(v);
    record(r, RECORD_COMMIT, slot, NULL);
}

static void write(const struct replica_config *config, const struct replica *r, uint8_t **ret, size_t *ret_size)
{
    void *block = malloc(checkpoint_writer_size(config));
    *ret = malloc(MADE_BYTES_MAX);
    fuzz_check(block != NULL && *ret != NULL);
    *ret_size = 0;
    struct checkpoint_writer *w = checkpoint_begin(block, r, NULL, 0);
    for (size_t n; !checkpoint_is_written(w); *ret_size += n)
        fuzz_check(checkpoint_write(w, r, *ret + *ret_size, MADE_BYTES_MAX - *ret_size, &n));
    free(block);
}

void checkpoint_make(slot_t slot, bool trims, uint8_t **ret, size_t *ret_size)
{
    const struct replica_config config = {.identity = *replica_identity(host.replica),
                                          .heartbeat_usec = 50000,
                                          .submissions_max = 4,
                                          .promise_page_slots = 4};
    const struct value_fields message = {.type = VALUE_MESSAGE,
                                         .stream = 1,
                                         .n = 1,
                                         .time_usec = TIME_USEC,
                                         .author = "a",
                                         .key = "k",
                                         .text = "t",
                                         .author_size = 1,
                                         .key_size = 1,
                                         .text_size = 1};
    uint8_t first_kept[TRIM_TEXT_SIZE];
    struct values values;
    void *block = malloc(replica_size(&config));
    fuzz_check(block != NULL);
    values_init(&values);
    struct replica *r = replica_init(block, &config);
    apply(r, &values, &message);
    while (replica_chosen(r) + 1 < slot)
        apply(r, &values, &(struct value_fields){.type = VALUE_NOOP});
    put_u64(first_kept, replica_chosen(r));
    if (replica_chosen(r) < slot)
        apply(r, &values,
              &(struct value_fields){.type = trims ? VALUE_TRIM : VALUE_NOOP,
                                     .text = first_kept,
                                     .text_size = trims ? sizeof first_kept : 0});
    write(&config, r, ret, ret_size);
    values_done(&values);
    free(block);
}

bool checkpoint_load_into(struct replica *r, const uint8_t *bytes, size_t size, struct checkpoint_reader *ret)
{
    const uint8_t *part;
    size_t part_size;
    checkpoint_load(ret, r);
    return checkpoint_read(ret, bytes, size, &part, &part_size) && ret->stage == CHECKPOINT_WHOLE;
}
