/* Options and operands of a command line, by tables that also make the help texts.
 *
 * Long options take their value as the next word or after '='; one-letter ones as the next word or attached (-n5). A
 * word that is exactly an option's name is that option, so "-pa" and "-p" can stand side by side. "--" ends the
 * options, "-" is an operand. Options and operands mix freely. */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { OPTION_VALUES_MAX = 2, OPTIONS_ERROR_MAX = 255 };

struct option_spec {
    const char *name;   /* "--from"; NULL ends a table                                       */
    const char *alias;  /* "-n", "-pa"; NULL: none                                           */
    const char *values; /* "S", "N R"; "[=FORM]": may follow after '='; NULL: takes no value */
    const char *help;
    int id;
};

struct given {
    int id;
    const char *name; /* as it was written in the table */
    const char *values[OPTION_VALUES_MAX];
};

struct arguments {
    struct given *given; /* in the order of the command line */
    size_t n_given;
    const char **operands;
    size_t n_operands;
};

/* Makes room for `words` words. False: no memory. */
bool arguments_init(struct arguments *a, size_t words);
void arguments_done(struct arguments *a);

/* Reads words against one or two tables (`second` may be NULL), adding to `a`. Stops before the first operand where
 * `until_operand` is set. Answers how many words it took, or -1 and one line in ret_error. */
int arguments_read(struct arguments *a, const struct option_spec *first, const struct option_spec *second, int n,
                   char **words, bool until_operand, char ret_error[OPTIONS_ERROR_MAX + 1]);

/* The last one given with this id; NULL: none. */
const struct given *arguments_find(const struct arguments *a, int id);

#endif
