/* The driver and the configuration file: where it differs from the log, and what a reload carries out. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/notice.h"
#include "host/reload.h"

enum { STANDS_MAX = 16 + REPLICAS_MAX * 5 };

static void list_ids(const struct configuration *c, char *ret, size_t size)
{
    size_t used = (size_t)snprintf(ret, size, " (ids");
    for (uint32_t i = 0; i < c->n_members; i++)
        used += (size_t)snprintf(ret + used, size - used, "%s %u", i > 0 ? "," : "", c->members[i].id);
    snprintf(ret + used, size - used, ")");
}

/* What the file says in vain; NULL: nothing, only addresses differ. `ret_stands`: " (what stands)", where the log has
 * more of it than a hash. */
static const char *find_difference(const struct config *file, const struct configuration *said,
                                   const struct identity *own, char ret_stands[STANDS_MAX])
{
    const struct configuration *log = &own->configuration;
    struct hash128 named = config_bootstrap_hash(file->cluster, log);
    bool members_differ = said->n_members != log->n_members;
    for (uint32_t i = 0; i < said->n_members && !members_differ; i++)
        members_differ = said->members[i].id != log->members[i].id;
    ret_stands[0] = 0;
    if (members_differ) {
        list_ids(log, ret_stands, STANDS_MAX);
        return "list of replicas";
    }
    if (said->dedup_slots != log->dedup_slots) {
        snprintf(ret_stands, STANDS_MAX, " (%" PRIu32 ")", log->dedup_slots);
        return "dedup_slots";
    }
    return hash_equal(&named, &own->bootstrap) ? NULL : "cluster";
}

void driver_compare_config(struct driver *d, const struct identity *own, const struct config *file)
{
    char stands[STANDS_MAX];
    struct identity said;
    d->config_warning[0] = 0;
    config_identity(file, own->id, own->life, &said);
    if (own->status == IDENTITY_EMPTY || hash_equal(&said.bootstrap, &own->bootstrap))
        return; /* before the first start, the next start takes all of the file */
    const char *overruled = find_difference(file, &said.configuration, own, stands);
    d->is_config_overruled = overruled != NULL;
    if (overruled != NULL)
        snprintf(d->config_warning, sizeof(d->config_warning),
                 "the configuration's %s is not that of the first start%s, which stands. Write the file as it was",
                 overruled, stands);
    else
        snprintf(d->config_warning, sizeof(d->config_warning),
                 "the configuration's addresses are not those of the first start, and are used, from the next start "
                 "on. Where that is not meant, write the file as it was");
    notice(NOTICE_CONFIG_DIFFERS, NULL, "%s", d->config_warning);
}

static void carry_out(struct driver *d, const char *key)
{
    const struct config_replica *self = config_find(d->config, d->options.id);
    uint64_t now_usec = driver_now();
    if (strcmp(key, "drop_rate") == 0) {
        faults_set(d->options.faults, self->drop_rate, FAULT_OUT, REPLICA_ID_NONE, 0, now_usec);
    } else if (strcmp(key, "skip_slot") == 0) {
        struct event e = {.type = EVENT_SKIP,
                          .now_usec = now_usec,
                          .slots = self->skips,
                          .n_slots = self->n_skips,
                          .skips_only = true};
        driver_step(d, &e);
    } else if (strcmp(key, "log_format") == 0) {
        flushes_set_format(d->flushes, d->config->log_format);
    }
}

void driver_set_keys(struct driver *d, const struct seal_keys *keys)
{
    seal_set_keys(d->seal, keys);
    d->dirty = true;
}

void driver_reload(struct driver *d, const struct config *file, const struct reload *r)
{
    for (uint32_t i = 0; i < r->n_changed; i++)
        carry_out(d, r->changed[i]);
    driver_compare_config(d, replica_identity(d->replica), file);
    bool all = replica_identity(d->replica)->status == IDENTITY_EMPTY;
    const char *restart = r->kept[RELOAD_RESTART], *settled = all ? r->kept[RELOAD_SETTLED] : "";
    snprintf(d->kept_restart, sizeof(d->kept_restart), "%s%s%s", restart,
             restart[0] != 0 && settled[0] != 0 ? ", " : "", settled);
    snprintf(d->kept_stop, sizeof(d->kept_stop), "%s", r->kept[RELOAD_STOP_ALL]);
}
