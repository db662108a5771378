#include "host/values.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver.h"
#include "paxos/bytes.h"

/* Where the fields of an encoding stand: paxos/value.h. */
enum { AUTHOR_SIZE_AT = 1, KEY_SIZE_AT = 2, TEXT_SIZE_AT = 4, STREAM_AT = 8, NUMBER_AT = 16, TIME_AT = 32 };

/* malloc() keeps few of a size at hand, and a value comes and goes for each message. Under AddressSanitizer none is
 * kept: it would see no use of one that is gone. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED true
#elif defined(__has_feature)
#define IS_WATCHED __has_feature(address_sanitizer)
#else
#define IS_WATCHED false
#endif

enum { KEPT_BYTES_MAX = IS_WATCHED ? 0 : 1 << 20 };

struct pooled {
    struct value_link link;
    struct values *pool;
    size_t class; /* of its size; VALUES_CLASSES: it is larger */
    struct value value;
};

void values_init(struct values *pool)
{
    *pool = (struct values){.kept_bytes = 0};
    pool->all.previous = pool->all.next = &pool->all;
}

void values_done(struct values *pool)
{
    for (struct value_link *i = pool->all.next, *next; i != &pool->all; i = next) {
        next = i->next;
        free(i); /* the first field of its struct pooled */
    }
    for (size_t class = 0; class < VALUES_CLASSES; class ++) {
        for (struct value_link *i = pool->kept[class], *next; i != NULL; i = next) {
            next = i->next;
            free(i);
        }
    }
    values_init(pool);
}

static size_t class_bytes(size_t class)
{
    return (class + 1) * VALUES_CLASS_BYTES;
}

static struct pooled *allocate(struct values *pool, uint32_t size)
{
    size_t bytes = sizeof(struct pooled) + size, class = (bytes - 1) / VALUES_CLASS_BYTES;
    struct pooled *p;
    if (class < VALUES_CLASSES && pool->kept[class] != NULL) {
        p = (struct pooled *)pool->kept[class];
        pool->kept[class] = p->link.next;
        pool->kept_bytes -= class_bytes(class);
        return p;
    }
    p = malloc(class < VALUES_CLASSES ? class_bytes(class) : bytes);
    if (p != NULL) {
        p->pool = pool;
        p->class = class < VALUES_CLASSES ? class : VALUES_CLASSES;
    }
    return p;
}

static void give_back(struct pooled *p)
{
    struct values *pool = p->pool;
    if (p->class == VALUES_CLASSES || pool->kept_bytes + class_bytes(p->class) > KEPT_BYTES_MAX) {
        free(p);
        return;
    }
    p->link.next = pool->kept[p->class];
    pool->kept[p->class] = &p->link;
    pool->kept_bytes += class_bytes(p->class);
}

struct value *values_new(struct values *pool, uint32_t size)
{
    struct pooled *p = allocate(pool, size);
    if (p == NULL)
        return NULL;
    p->link.previous = &pool->all;
    p->link.next = pool->all.next;
    p->link.next->previous = p->link.previous->next = &p->link;
    p->value.refs = 0;
    p->value.size = size;
    p->value.next = NULL;
    return &p->value;
}

int values_copy(struct values *pool, const uint8_t *bytes, uint32_t size, const struct hash128 *hash_key,
                struct value **ret)
{
    struct value *v = values_new(pool, size);
    if (v == NULL)
        return -ENOMEM;
    memcpy(v->bytes, bytes, size);
    if (!value_parse(v, hash_key)) {
        values_discard(v);
        return -EBADMSG;
    }
    *ret = v;
    return 0;
}

void values_discard(struct value *v)
{
    struct pooled *p = (struct pooled *)(void *)((char *)v - offsetof(struct pooled, value));
    p->link.previous->next = p->link.next;
    p->link.next->previous = p->link.previous;
    give_back(p);
}

void values_unref(struct value *v)
{
    if (v != NULL && --v->refs == 0)
        values_discard(v);
}

void values_release(struct value *released)
{
    while (released != NULL) {
        struct value *next = released->next;
        if (released->refs == 0)
            values_discard(released);
        released = next;
    }
}

void values_set_number(uint8_t *bytes, uint64_t stream, uint64_t n)
{
    put_u64(bytes + STREAM_AT, stream);
    put_u64(bytes + NUMBER_AT, n);
}

bool values_view(const uint8_t *bytes, uint32_t size, struct log_message *ret)
{
    if (size < VALUE_HEADER_SIZE)
        return false;
    size_t author_size = bytes[AUTHOR_SIZE_AT], key_size = bytes[KEY_SIZE_AT],
           text_size = get_u32(bytes + TEXT_SIZE_AT);
    if (VALUE_HEADER_SIZE + author_size + key_size + text_size != size)
        return false;
    ret->time_usec = get_u64(bytes + TIME_AT);
    ret->author = (const char *)bytes + VALUE_HEADER_SIZE;
    ret->author_size = author_size;
    ret->text = ret->author + author_size + key_size;
    ret->text_size = text_size;
    return true;
}
