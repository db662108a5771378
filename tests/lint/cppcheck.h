/* Loops that are macros of headers that cppcheck does not read. */
#define cJSON_ArrayForEach(item, array) for (item = (array) ? (array)->child : 0; item; item = (item)->next)
#define TAILQ_FOREACH(item, head, field) for (item = (head)->tqh_first; item; item = (item)->field.tqe_next)
