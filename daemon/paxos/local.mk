# The core: pure, links nothing.

noinst_LIBRARIES += daemon/paxos/libpaxos.a
daemon_paxos_libpaxos_a_SOURCES = \
	daemon/paxos/ballot.h \
	daemon/paxos/bytes.h \
	daemon/paxos/crc32c.c \
	daemon/paxos/crc32c.h \
	daemon/paxos/dedup.h \
	daemon/paxos/hash.h \
	daemon/paxos/identity.h \
	daemon/paxos/invariant.h \
	daemon/paxos/membership.h \
	daemon/paxos/message.h \
	daemon/paxos/prng.h \
	daemon/paxos/record.h \
	daemon/paxos/replica.h \
	daemon/paxos/value.h
