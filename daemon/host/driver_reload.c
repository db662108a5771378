/* The driver and the configuration file: where it differs from the log, and what a reload carries out. */
#include <stdio.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/notice.h"
#include "host/reload.h"

static const char *find_difference(const struct identity *a, const struct identity *b)
{
    const struct configuration *x = &a->configuration, *y = &b->configuration;
    bool members_differ = x->n_members != y->n_members;
    for (uint32_t i = 0; i < x->n_members && !members_differ; i++) {
        members_differ = x->members[i].id != y->members[i].id ||
                         x->members[i].address_size != y->members[i].address_size ||
                         memcmp(x->members[i].address, y->members[i].address, x->members[i].address_size) != 0;
    }
    return members_differ ? "members or their addresses" : x->dedup_slots != y->dedup_slots ? "dedup_slots" : "cluster";
}

void driver_compare_config(struct driver *d, const struct identity *own, const struct config *file)
{
    struct identity said;
    d->config_warning[0] = 0;
    config_identity(file, own->id, own->life, &said);
    if (hash_equal(&said.bootstrap, &own->bootstrap))
        return;
    snprintf(d->config_warning, sizeof(d->config_warning),
             "the configuration's %s differ from those of the first start; the log's stand (addresses: the file's). "
             "Write the file as it was",
             find_difference(&said, own));
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
    d->reload_warning[0] = 0;
    if (r->kept[0] != 0)
        snprintf(
            d->reload_warning, sizeof(d->reload_warning),
            "the configuration file says otherwise since the start in %s, which a running replica does not take up",
            r->kept);
}
