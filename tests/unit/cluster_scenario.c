/* Draws a scenario: the sizes of everything, then which faults there are. */
#include "tests/unit/cluster_fault.h"

static uint64_t draw(struct prng *p, uint64_t min, uint64_t max)
{
    return min + prng_below(p, max - min + 1);
}

static void draw_tables(struct prng *p, struct cluster_options *o)
{
    if (prng_below(p, 4) == 0)
        return; /* those of a real cluster */
    o->alpha = (uint32_t)draw(p, 8, 64);
    o->dedup_slots = (uint32_t)draw(p, 4, 64);
    o->streams_max = (uint32_t)draw(p, 1, 4);
    o->submissions_max = (uint32_t)draw(p, 4, 64);
    o->promise_page_slots = (uint32_t)draw(p, 1, 16);
    o->proposal_bytes_max = (uint32_t)draw(p, 2048, 32768);
    o->message_bytes_max = 1024;
}

struct scenario scenario_draw(uint64_t seed)
{
    static const uint32_t hosts[] = {3, 3, 3, 3, 5, 5, 7, 1};
    struct prng p;
    prng_seed(&p, seed * UINT64_C(0x9e3779b97f4a7c15) + 7);
    prng_next(&p);
    struct scenario s = {.cluster = cluster_defaults(seed), .clients = clients_defaults()};
    s.cluster.trace = false;
    s.cluster.n_hosts = hosts[prng_below(&p, sizeof(hosts) / sizeof(hosts[0]))];
    s.cluster.id_stride = (uint32_t)draw(&p, 1, 3);
    s.cluster.blank = prng_below(&p, 3) == 0;
    s.cluster.dedup_slots = 4096;
    draw_tables(&p, &s.cluster);

    s.clients.n_clients = (uint32_t)draw(&p, 1, 6);
    s.clients.operations_max = (uint32_t)draw(&p, 50, 600);
    s.clients.in_flight_max = (uint32_t)draw(&p, 1, 24);
    s.clients.pause_max_usec = draw(&p, 5 * MSEC, 60 * MSEC);
    s.clients.timeout_usec = draw(&p, 200 * MSEC, 2 * SECOND);
    s.clients.text_bytes_max = s.cluster.message_bytes_max;

    s.duration_usec = draw(&p, 1 * SECOND, 6 * SECOND);
    s.fault_max_usec = draw(&p, 20 * MSEC, 400 * MSEC);
    s.loss_max_permille = prng_below(&p, 3) == 0 ? 0 : (uint32_t)draw(&p, 0, 300);
    s.duplicate_max_permille = prng_below(&p, 3) == 0 ? 0 : (uint32_t)draw(&p, 0, 500);
    for (int i = 0; i < FAULT_KINDS; i++)
        s.kinds |= (uint32_t)(prng_below(&p, 5) < 3) << i;
    return s;
}
