/* Reload: what came of reading the configuration again. */
#include "host/methods.h"
#include "host/reload.h"

void method_reload(struct connection *k, const struct varlink_call *call)
{
    static const char *const known[] = {NULL};
    if (!parameters_known(k, call, known))
        return;
    if (k->control->reload == NULL) {
        reply_not_implemented(k, call);
        return;
    }
    const struct reload *r = k->control->reload(k->control->reload_user);
    if (r->failed) {
        struct varlink_writer *w = reply_error_begin(k, INTERFACE_REPLICA ".ReloadFailed");
        varlink_write_string(w, "path", r->path);
        if (r->line != 0)
            varlink_write_uint(w, "line", r->line);
        varlink_write_string(w, "reason", r->reason);
    } else {
        struct varlink_writer *w = reply_begin(k);
        varlink_write_open(w, "changed", '[');
        for (uint32_t i = 0; i < r->n_changed; i++)
            varlink_write_string(w, NULL, r->changed[i]);
        varlink_write_close(w, ']');
    }
    reply_end(k, false);
}
