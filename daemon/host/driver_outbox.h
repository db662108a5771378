/* What goes out: messages packed into datagrams, and those that wait for the disk.
 *
 * A message whose `after` is durable is encoded at once, behind others to the same receiver, into a datagram that
 * leaves when it is full, or at the turn's end. One to everybody is encoded once, and only its header anew for each.
 * One that has to wait is encoded too, since effects do not last, and its bytes are kept until outbox_durable(): in
 * order, so that a message with a lower `after` behind one with a higher waits with it. Nothing leaves earlier than its
 * `after` allows. What would wait above OUTBOX_WAITING_BYTES_MAX is lost, as on the wire, and counted.
 *
 * With a seal every datagram leaves sealed, and the handshakes that it wants go along; what is for a peer without a
 * session yet is lost. */
#ifndef HOST_DRIVER_OUTBOX_H
#define HOST_DRIVER_OUTBOX_H

#include "host/peers.h"
#include "wire/datagram.h"
#include "wire/seal.h"

enum {
    OUTBOX_BUFFERS = 96, /* datagrams that are being filled, or queued */
    OUTBOX_WAITING_BYTES_MAX = 16 << 20,
};

/* Bytes of messages, in order, each with a head that says for whom and until when. */
struct outbox_waiting {
    uint8_t *bytes;
    size_t begin, end, room;
    uint64_t last_after;
};

struct outbox {
    struct peers *peers;
    struct seal *seal; /* NULL: datagrams are plain */
    size_t n_peers;
    replica_id_t ids[REPLICAS_MAX];
    uint64_t seqs[REPLICAS_MAX]; /* the last datagram's, to each peer */
    struct datagram_header header;
    size_t room;
    uint64_t durable_seq;
    uint64_t lost;     /* for want of room in `waiting`, or of memory */
    uint64_t unsealed; /* lost for want of a session                  */
    struct outbox_waiting waiting;
    struct datagram_writer writers[REPLICAS_MAX + 1]; /* the last: to everybody; bytes NULL: not begun */
    struct datagram_writer scratch;
    uint8_t *buffers;
    size_t n_free, n_queued;
    uint8_t *free[OUTBOX_BUFFERS], *queued[OUTBOX_BUFFERS];
};

/* `header`: from, life, boot and cluster name; outbox_set_cluster() follows where a first start draws the cluster's id.
 * `ids`: the other members, in the order of the peers' indexes, and of those of `seal` (or NULL). -ENOMEM. */
int outbox_init(struct outbox *o, struct peers *peers, struct seal *seal, const replica_id_t *ids, size_t n,
                const struct datagram_header *header, size_t datagram_bytes);
void outbox_done(struct outbox *o);

void outbox_set_cluster(struct outbox *o, const struct hash128 *cluster);

/* `to`: a member, or REPLICA_ID_NONE for all; others are ignored. */
void outbox_put(struct outbox *o, uint64_t after, replica_id_t to, const struct message *m, uint64_t now_usec);
/* Lets out what waited for it. */
void outbox_durable(struct outbox *o, uint64_t seq, uint64_t now_usec);
/* Sends all that was put, in as few datagrams and system calls as it takes, behind the handshakes that are due. */
void outbox_flush(struct outbox *o, uint64_t now_usec);
/* When the next handshake is due; UINT64_MAX: none. */
uint64_t outbox_wake_usec(const struct outbox *o);

#endif
