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
    CONFIG_F_MAX = (REPLICAS_MAX - 1) / 2,
};

/* Ranges and defaults of the optional keys, as replica_config.json(5) says them. */
enum {
    HEARTBEAT_MS_MIN = 5,
    HEARTBEAT_MS_MAX = 10000,
    HEARTBEAT_MS_DEFAULT = 50,
    MESSAGE_BYTES_LEAST = 64,
    MESSAGE_BYTES_MOST = 1 << 20,
    MESSAGE_BYTES_DEFAULT = 16384,
    DATAGRAM_BYTES_LEAST = 512,
    DATAGRAM_BYTES_MOST = 65000,
    DATAGRAM_BYTES_DEFAULT = 1200,
    DATAGRAM_BYTES_DEFAULT_LOOPBACK = 8192, /* where all addresses are loopback */
    FLUSH_INTERVAL_S_MAX = 86400,
    RETAIN_MB_MIN = 64,
    RETAIN_MB_MAX = 1 << 24,
    RETAIN_MB_DEFAULT = 1024,
    DEDUP_SLOTS_MAX = 1 << 24,
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
 * sizes, and the bootstrap hash. */
void config_identity(const struct config *c, replica_id_t id, uint64_t life, struct identity *ret);
/* Covers cluster name, members, dedup_slots and alpha only: what must be the same in every replica's file at the first
 * start, and to compare a later file with what lives in the log. */
struct hash128 config_bootstrap_hash(const char *cluster, const struct configuration *members);
/* Of the cluster's name alone: what every datagram carries. */
uint64_t config_cluster_name_hash(const struct config *c);

#endif
