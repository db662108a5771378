/* The replicas' UDP socket: addresses, and datagrams in and out, many a system call.
 *
 * One socket, bound to this replica's own address. It is read and written by recvmmsg and sendmmsg directly, with libuv
 * only watching it (uv_poll): libuv 1.44's uv_udp_send allocates a request for each datagram and loses a whole batch to
 * a hard error on its first one, and its own recvmmsg takes 20 at most. Sending never blocks and is never repeated:
 * what fails is a lost datagram, and counted. A peer is named by its index in the options. Who sent what comes in, its
 * header says, and a seal or the checksum stands for that: the source is told, but need not be the peer's address,
 * since addresses may be translated and names have several. What goes out goes to a peer's address, never to a source.
 *
 * What a host that is off does not take may wait in the socket's buffer. So what is for a peer that was not heard for
 * PEERS_SILENCE_USEC is lost while there is more in it than a part, but for handshakes.
 *
 * Names are looked up again every 30 s, and when a host turns out unreachable; until a first answer, what goes to that
 * peer is lost. The socket has one address family: the own address's. Of several addresses of a name one
 * that is not a loopback one comes first, then IPv4, then the lowest. */
#ifndef HOST_PEERS_H
#define HOST_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "host/config.h"
#include "wire/datagram.h"

enum {
    PEERS_SEND_BATCH = 64,        /* datagrams of one sendmmsg                         */
    PEERS_RECEIVE_BATCH = 32,     /* of one recvmmsg                                   */
    PEERS_RECEIVE_TAKEN = 64,     /* that were taken, before the loop does something else */
    PEERS_RECEIVE_ROUNDS = 16,    /* of recvmmsg, where what comes is refused             */
    PEERS_SOCKET_BYTES = 4 << 20, /* asked for, in each direction                      */
    PEERS_SILENCE_USEC = 2000000, /* without anything from a peer, before what is for it stands back */
    PEERS_LOOKUP_USEC = 30000000,
    PEERS_LOOKUP_SOON_USEC = 1000000, /* after a failed lookup, or an unreachable host     */
};

struct faults;
struct peers;

struct peer_address {
    replica_id_t id;
    uint16_t port;
    char host[CONFIG_HOST_MAX + 1];
};

struct peers_options {
    uv_loop_t *loop;
    struct peer_address self;
    const struct peer_address *others; /* copied */
    size_t n_others;
    struct faults *faults; /* decides about datagrams out; the reader about those in */
    /* Whether it took it: what it refused cost little, and does not stand in for what others sent. */
    bool (*received)(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size);
    void *user;
};

/* Binds; an own name that means the loopback is an error where another replica's address is beyond it. A negative errno
 * after having logged what, where and what to do. */
int peers_open(const struct peers_options *o, struct peers **ret);
/* Reads from now on, and looks names up. From here on it is ended by peers_close(); before, by peers_free() alone. */
int peers_start(struct peers *p);

/* Adds one datagram to the batch: its header is copied, the rest borrowed until peers_flush(). Sends when the batch is
 * full. */
void peers_queue(struct peers *p, size_t peer, const uint8_t header[DATAGRAM_HEADER_SIZE], const uint8_t *rest,
                 size_t rest_size, uint64_t now_usec);
void peers_flush(struct peers *p);
/* Something of the peer came in, and was no recording. */
void peers_heard(struct peers *p, size_t peer, uint64_t now_usec);

/* Starts the lookups that are due: call it every second or so. */
void peers_tick(struct peers *p, uint64_t now_usec);

/* What the system gave for datagrams that wait to be read, in its own counting (about half of it is overhead). */
uint32_t peers_receive_bytes(const struct peers *p);

struct peers_counters {
    uint64_t sent, received, bytes_sent, bytes_received, dropped_injected, send_errors, receive_errors;
};
const struct peers_counters *peers_counters(const struct peers *p);
/* Datagrams that the system dropped because too many waited to be read. */
uint32_t peers_overrun(const struct peers *p);
/* Whether a datagram from there has the peer's address for its source. */
bool peers_is_from(const struct peers *p, size_t peer, const struct sockaddr_storage *from);
/* Why the peer's address is not known, "" where it is. */
const char *peers_note(const struct peers *p, size_t peer);

/* Stops reading and closes; `closed` once the handle is gone, then peers_free(). */
void peers_close(struct peers *p, void (*closed)(void *user), void *user);
void peers_free(struct peers *p);

#endif
