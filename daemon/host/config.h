/* replica_config.json: read, checked, and explained line by line.
 *
 * Used by the daemon and by `mpaxosctl config check`: no I/O but reading the one file, no logging. */
#ifndef HOST_CONFIG_H
#define HOST_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/identity.h"

enum {
    CONFIG_FILE_BYTES_MAX = 1 << 20,
    CONFIG_ERROR_MAX = 511,
    CONFIG_SKIPS_MAX = 256,
    CONFIG_HOST_MAX = 249,
    CLUSTER_NAME_MAX = 64,
};

enum log_format { LOG_FORMAT_FULL, LOG_FORMAT_PLAIN, LOG_FORMAT_JSON };

struct config_replica {
    replica_id_t id;
    uint16_t port;
    uint8_t drop_rate; /* percent */
    char host[CONFIG_HOST_MAX + 1];
    uint32_t n_skips;
    uint64_t skips[CONFIG_SKIPS_MAX];
};

struct config {
    uint32_t f;
    bool script;
    char cluster[CLUSTER_NAME_MAX + 1];
    uint32_t heartbeat_ms;
    uint32_t message_bytes_max;
    uint32_t datagram_bytes;
    enum log_format log_format;
    uint32_t flush_interval_s;
    uint64_t retain_mb;
    uint32_t dedup_slots;
    uint32_t n_replicas;
    struct config_replica replicas[REPLICAS_MAX]; /* by id, ascending */
};

/* 0, or -1 with one line `FILE:LINE: KEY: what is wrong; what to write` in ret_error (CONFIG_ERROR_MAX + 1 bytes). */
int config_read(const char *path, struct config *ret, char *ret_error);
/* The same from memory; `path` is for the error only. */
int config_parse(const char *path, const char *bytes, size_t size, struct config *ret, char *ret_error);

const struct config_replica *config_find(const struct config *c, replica_id_t id);

/* True where `host` is a loopback name or address. */
bool config_host_is_loopback(const char *host);
bool config_is_loopback(const struct config *c); /* all of them */

/* "host:port", an IPv6 address in brackets. */
void config_address(const struct config_replica *r, char *ret, size_t size);

/* The EMPTY identity of replica `id` that a first start begins with: members with life 0 and gen 1, own `life`, table
 * sizes, and the bootstrap hash, which covers cluster name, members, dedup_slots and alpha only. */
void config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret);
/* The same hash alone, to compare a later file with what lives in the log. */
uint64_t config_cluster_name_hash(const struct config *c);

#endif
