/* What follows from a configuration: addresses, and the identity and hashes that a first start begins with. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "host/config.h"
#include "paxos/bytes.h"
#include "paxos/hash.h"
#include "paxos/replica.h"

const struct config_replica *config_find(const struct config *c, replica_id_t id)
{
    for (uint32_t i = 0; i < c->n_replicas; i++)
        if (c->replicas[i].id == id)
            return &c->replicas[i];
    return NULL;
}

bool config_host_is_loopback(const char *host)
{
    static const char suffix[] = ".localhost"; /* RFC 6761, section 6.3 */
    size_t size = strlen(host);
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return strcasecmp(host, "localhost") == 0 ||
           (size >= sizeof suffix && strcasecmp(host + size - (sizeof suffix - 1), suffix) == 0);
}

bool config_is_loopback(const struct config *c)
{
    for (uint32_t i = 0; i < c->n_replicas; i++)
        if (!config_host_is_loopback(c->replicas[i].host))
            return false;
    return true;
}

void config_address(const struct config_replica *r, char *ret, size_t size)
{
    snprintf(ret, size, strchr(r->host, ':') ? "[%s]:%u" : "%s:%u", r->host, r->port);
}

struct hash128 config_bootstrap_hash(const char *cluster, const struct configuration *members)
{
    /* One line a fact. No field can hold a line feed, so no two configurations have one text. */
    static const char head[] = "mpaxos bootstrap 1\ncluster %s\ndedup_slots %u\nalpha %u\n";
    char text[sizeof head + CLUSTER_NAME_MAX + 32 + (size_t)REPLICAS_MAX * (ADDRESS_BYTES_MAX + 32)];
    struct hash128 key = {{0}};
    size_t at = (size_t)snprintf(text, sizeof text, head, cluster, members->dedup_slots, members->alpha);

    for (uint32_t i = 0; i < members->n_members; i++) {
        const struct member *m = &members->members[i];
        at += (size_t)snprintf(text + at, sizeof text - at, "replica %u %.*s\n", m->id, m->address_size, m->address);
    }
    return hash_bytes(&key, text, at);
}

void config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret)
{
    struct configuration *members = &ret->configuration;

    memset(ret, 0, sizeof *ret);
    ret->status = IDENTITY_EMPTY;
    ret->id = id;
    ret->life = life;
    members->alpha = WINDOW_SLOTS_DEFAULT;
    members->dedup_slots = c->dedup_slots;
    members->streams_max = STREAMS_DEFAULT;
    members->n_members = c->n_replicas;
    for (uint32_t i = 0; i < c->n_replicas; i++) {
        struct member *m = &members->members[i];
        char address[CONFIG_HOST_MAX + 16];
        config_address(&c->replicas[i], address, sizeof address);
        m->id = c->replicas[i].id;
        m->gen = 1;
        m->address_size = (uint8_t)strnlen(address, ADDRESS_BYTES_MAX);
        memcpy(m->address, address, m->address_size);
    }
    ret->bootstrap = config_bootstrap_hash(c->cluster, members);
}

uint64_t config_cluster_name_hash(const struct config *c)
{
    struct hash128 key = {{0}}, hash = hash_bytes(&key, c->cluster, strlen(c->cluster));

    return get_u64(hash.bytes);
}
