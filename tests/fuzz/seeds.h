/* How seeds.c's parts write one seed after the other: seed_begin(), what is in it, seed_end(). */
#ifndef TESTS_FUZZ_SEEDS_H
#define TESTS_FUZZ_SEEDS_H

#include <stddef.h>

void seed_begin(const char *what, const char *name);
void seed_end(void);
void put(const void *bytes, size_t size);
void put8(unsigned v);
void put16(unsigned v);

void make_peer_seeds(void);   /* datagram, cluster, replica */
void make_socket_seeds(void); /* varlink, control, config   */
void make_disk_seeds(void);   /* mark, journal, checkpoint  */
void make_seal_seeds(void);   /* seal, keyfile              */
void make_driver_seeds(void); /* driver                     */

#endif
