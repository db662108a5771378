#include "ctl/submission.h"

#include <stdio.h>

#include "wire/varlink.h"

const char *submission_text_error(const char *text, size_t size)
{
    if (size == 0)
        return "an empty text is no message";
    if (!text_is_utf8(text, size, false))
        return "the text is not UTF-8, or holds a NUL. Convert it, for example with iconv";
    return NULL;
}

void submission_print(const struct invocation *v, const struct settled *s)
{
    if (v->report.json == JSON_OFF) {
        bool before = s->duplicate && !s->retried;
        printf(before ? "already chosen at slot %lld\n" : "chosen at slot %lld\n", (long long)s->slot);
        return;
    }
    cJSON *p = cJSON_CreateObject();
    cJSON_AddItemToObject(p, "slot", varlink_int(s->slot));
    cJSON_AddStringToObject(p, "key", s->key);
    cJSON_AddBoolToObject(p, "duplicate", s->duplicate);
    report_json(&v->report, p, true);
    cJSON_Delete(p);
}
