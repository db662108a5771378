#include "host/notice.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/log.h"

enum { REFILL_MSEC = 1000, PATH_SHOWN_MAX = 500 };

static const struct {
    enum log_level level;
    const char *id;
} kinds[NOTICE_KINDS] = {
    [NOTICE_QUORUM_LOST] = {LOG_LEVEL_WARNING, "ff2fda8e58b848e69473b6879318c24d"},
    [NOTICE_QUORUM_REGAINED] = {LOG_LEVEL_NOTICE, "fe0474d312c84f5a97ba829bb903c343"},
    [NOTICE_LEADER_CHANGED] = {LOG_LEVEL_NOTICE, "71c64884e6c141b39fb2e2cfc9ad097d"},
    [NOTICE_TAIL_CUT] = {LOG_LEVEL_NOTICE, "03b4befc1ecf4fee9724265b8a2f3382"},
    [NOTICE_DAMAGE_CUT] = {LOG_LEVEL_WARNING, "5b0cf16fd4c24d8ea7d1a8e9ff3cb2ac"},
    [NOTICE_QUARANTINED] = {LOG_LEVEL_ERROR, "0d9f1bb8a1f14d05b9c0a3d7c4e25f6b"},
    [NOTICE_STATE_REFUSED] = {LOG_LEVEL_ERROR, "d66c328fd1b24e65b632aaeee4e91908"},
    [NOTICE_DIVERGED] = {LOG_LEVEL_ERROR, "e6dd84380d0f44aea776a3ff7b56468e"},
    [NOTICE_LOG_GAP] = {LOG_LEVEL_ERROR, "5c3f0a4be2d14a4e9d0f7b8a61c2e917"},
    [NOTICE_DISK_FULL] = {LOG_LEVEL_ERROR, "2dcb66297b1f4b1bb0cfd65666625c83"},
    [NOTICE_DISK_SPACE] = {LOG_LEVEL_NOTICE, "03b8fc5436bd4535b9f559d2475fb865"},
    [NOTICE_DISK_FAILED] = {LOG_LEVEL_ERROR, "98464e9846114a85a1ac8033c450b282"},
    [NOTICE_DISK_SLOW] = {LOG_LEVEL_WARNING, "6e4d2b4015a249199ea7fe18055db910"},
    [NOTICE_REPLICA_REFUSED] = {LOG_LEVEL_WARNING, "747922449c944be3b1dcc6998f20e2d4"},
    [NOTICE_REPLICA_BLANK] = {LOG_LEVEL_WARNING, "b92612d901bb46b7b27469f0843b5eea"},
    [NOTICE_DATAGRAMS_REFUSED] = {LOG_LEVEL_WARNING, "eaf0c2b06fda4ff3a9f11b134bd44f24"},
    [NOTICE_NO_KEY] = {LOG_LEVEL_WARNING, "9fd4b4359fd747b98c89f354f1450334"},
    [NOTICE_KEY_REFUSED] = {LOG_LEVEL_ERROR, "9005f06cf68340b7a7dfb367838e9ce1"},
    [NOTICE_FAULTS_INJECTED] = {LOG_LEVEL_NOTICE, "31086ca5d8464608a71c669111341d8b"},
    [NOTICE_FAULTS_LIFTED] = {LOG_LEVEL_NOTICE, "27140ec7e8a44b398b9ab52a550a3b91"},
    [NOTICE_CONFIG_REFUSED] = {LOG_LEVEL_ERROR, "7ed31cd60fde43eeb915ed23d6524f46"},
    [NOTICE_CONFIG_RELOADED] = {LOG_LEVEL_NOTICE, "683832419cb44c0cad150d184e20ed51"},
    [NOTICE_CONFIG_DIFFERS] = {LOG_LEVEL_WARNING, "b4c00725c352405d860f0db85dcd3abd"},
};

static struct {
    uint64_t spent; /* of NOTICE_BURST */
    uint64_t refilled_msec;
    unsigned long left_out;
} buckets[NOTICE_KINDS];

const char *notice_id(enum notice_kind kind)
{
    return kinds[kind].id;
}

static bool may_tell(enum notice_kind kind)
{
    uint64_t now_msec = log_now_msec(), refill = (now_msec - buckets[kind].refilled_msec) / REFILL_MSEC;

    buckets[kind].spent -= refill < buckets[kind].spent ? refill : buckets[kind].spent;
    buckets[kind].refilled_msec += refill * REFILL_MSEC;
    if (buckets[kind].spent >= NOTICE_BURST)
        return false;
    buckets[kind].spent++;
    return true;
}

static void add(char fields[LOG_FIELDS_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(char fields[LOG_FIELDS_MAX], const char *format, ...)
{
    size_t used = strlen(fields);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(fields + used, LOG_FIELDS_MAX - used, format, arguments);
    va_end(arguments);
}

/* A path may hold any byte but NUL; one with a line feed would forge a field. */
static void add_path(char fields[LOG_FIELDS_MAX], const char *path)
{
    if (!strchr(path, '\n'))
        add(fields, "MPAXOS_PATH=%.*s\n", PATH_SHOWN_MAX, path);
}

bool notice(enum notice_kind kind, const struct notice_about *about, const char *format, ...)
{
    char fields[LOG_FIELDS_MAX] = "";
    va_list arguments;

    if (!may_tell(kind)) {
        buckets[kind].left_out++;
        log_note_left_out();
        return false;
    }
    add(fields, "MESSAGE_ID=%s\n", kinds[kind].id);
    if (about && about->ballot && about->ballot->round > 0)
        add(fields, "MPAXOS_BALLOT=%" PRIu64 ".%u\n", about->ballot->round, about->ballot->id);
    if (about && about->slot)
        add(fields, "MPAXOS_SLOT=%" PRIu64 "\n", *about->slot);
    if (about && about->peer && *about->peer != REPLICA_ID_NONE)
        add(fields, "MPAXOS_PEER=%u\n", *about->peer);
    if (about && about->path)
        add_path(fields, about->path);
    va_start(arguments, format);
    log_write(kinds[kind].level, fields, buckets[kind].left_out, format, arguments);
    va_end(arguments);
    buckets[kind].left_out = 0;
    return true;
}
