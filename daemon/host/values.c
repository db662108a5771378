#include "host/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "paxos/bytes.h"

struct value *value_new(uint32_t size)
{
    struct value *v = malloc(sizeof(*v) + size);
    if (v == NULL)
        return NULL;
    v->refs = 0;
    v->size = size;
    v->next = NULL;
    return v;
}

int value_copy(const uint8_t *bytes, uint32_t size, const struct hash128 *hash_key, struct value **ret)
{
    struct value *v = value_new(size);
    if (v == NULL)
        return -ENOMEM;
    memcpy(v->bytes, bytes, size);
    if (!value_parse(v, hash_key)) {
        free(v);
        return -EBADMSG;
    }
    *ret = v;
    return 0;
}

void value_unref(struct value *v)
{
    if (v != NULL && --v->refs == 0)
        free(v);
}

void values_release(struct value *released)
{
    while (released != NULL) {
        struct value *next = released->next;
        free(released);
        released = next;
    }
}

void value_encoding_set_number(uint8_t *bytes, uint64_t stream, uint64_t n)
{
    enum { STREAM_AT = 8, NUMBER_AT = 16 }; /* paxos/value.h */
    put_u64(bytes + STREAM_AT, stream);
    put_u64(bytes + NUMBER_AT, n);
}
