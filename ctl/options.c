#include "ctl/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool arguments_init(struct arguments *a, size_t words)
{
    *a = (struct arguments){0};
    a->given = calloc(words + 1, sizeof(*a->given));
    a->operands = calloc(words + 1, sizeof(*a->operands));
    if (a->given && a->operands)
        return true;
    arguments_done(a);
    return false;
}

void arguments_done(struct arguments *a)
{
    free(a->given);
    free(a->operands);
    *a = (struct arguments){0};
}

static bool is_optional(const struct option_spec *s)
{
    return s->values && s->values[0] == '[';
}

static int count_values(const struct option_spec *s)
{
    if (!s->values || is_optional(s))
        return 0;
    return strchr(s->values, ' ') ? 2 : 1;
}

/* Whether `word` names `s`; *ret_attached is the value in the same word, NULL where there is none. */
static bool spec_matches(const struct option_spec *s, const char *word, bool exact, const char **ret_attached)
{
    *ret_attached = NULL;
    if (!strcmp(word, s->name) || (s->alias && !strcmp(word, s->alias)))
        return true;
    if (exact)
        return false;
    size_t n = strlen(s->name);
    if (!strncmp(word, s->name, n) && word[n] == '=') {
        *ret_attached = word + n + 1;
        return true;
    }
    if (s->alias && strlen(s->alias) == 2 && word[1] != '-' && word[1] == s->alias[1] && count_values(s) == 1) {
        *ret_attached = word + 2;
        return true;
    }
    return false;
}

static const struct option_spec *spec_find(const struct option_spec *first, const struct option_spec *second,
                                           const char *word, const char **ret_attached)
{
    for (int exact = 1; exact >= 0; exact--) {
        for (const struct option_spec *s = first; s && s->name; s++)
            if (spec_matches(s, word, exact, ret_attached))
                return s;
        for (const struct option_spec *s = second; s && s->name; s++)
            if (spec_matches(s, word, exact, ret_attached))
                return s;
    }
    return NULL;
}

int arguments_read(struct arguments *a, const struct option_spec *first, const struct option_spec *second, int n,
                   char **words, bool until_operand, char ret_error[OPTIONS_ERROR_MAX + 1])
{
    bool options = true;
    int i = 0;
    while (i < n) {
        const char *word = words[i];
        if (!options || word[0] != '-' || word[1] == '\0') {
            if (until_operand)
                return i;
            a->operands[a->n_operands++] = word;
            i++;
            continue;
        }
        i++;
        if (!strcmp(word, "--")) {
            options = false;
            continue;
        }
        const char *attached;
        const struct option_spec *s = spec_find(first, second, word, &attached);
        if (!s) {
            snprintf(ret_error, OPTIONS_ERROR_MAX + 1, "%s: no such option", word);
            return -1;
        }
        struct given *g = &a->given[a->n_given++];
        *g = (struct given){.id = s->id, .name = s->name};
        int wanted = count_values(s);
        if (attached && (wanted == 1 || is_optional(s))) {
            g->values[0] = attached;
            continue;
        }
        if (attached || n - i < wanted) {
            if (wanted)
                snprintf(ret_error, OPTIONS_ERROR_MAX + 1, "%s needs %s: %s", word,
                         wanted == 2 ? "two values" : "a value", s->values);
            else
                snprintf(ret_error, OPTIONS_ERROR_MAX + 1, "%s takes no value", s->name);
            return -1;
        }
        for (int k = 0; k < wanted; k++)
            g->values[k] = words[i++];
    }
    return i;
}

const struct given *arguments_find(const struct arguments *a, int id)
{
    for (size_t i = a->n_given; i-- > 0;)
        if (a->given[i].id == id)
            return &a->given[i];
    return NULL;
}
