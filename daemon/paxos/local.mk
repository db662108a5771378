# The core: pure, links nothing.

noinst_LIBRARIES += daemon/paxos/libpaxos.a
daemon_paxos_libpaxos_a_SOURCES = \
	daemon/paxos/acceptor.c \
	daemon/paxos/ballot.h \
	daemon/paxos/bytes.h \
	daemon/paxos/checkpoint.c \
	daemon/paxos/checkpoint.h \
	daemon/paxos/confirm.c \
	daemon/paxos/core.h \
	daemon/paxos/crc32c.c \
	daemon/paxos/crc32c.h \
	daemon/paxos/dedup.c \
	daemon/paxos/dedup.h \
	daemon/paxos/effects.c \
	daemon/paxos/election.c \
	daemon/paxos/hash.c \
	daemon/paxos/hash.h \
	daemon/paxos/identity.h \
	daemon/paxos/init.c \
	daemon/paxos/intake.c \
	daemon/paxos/invariant.h \
	daemon/paxos/learner.c \
	daemon/paxos/learner_fetch.c \
	daemon/paxos/membership.c \
	daemon/paxos/membership.h \
	daemon/paxos/message.h \
	daemon/paxos/origin.c \
	daemon/paxos/phase1.c \
	daemon/paxos/prng.h \
	daemon/paxos/proposer.c \
	daemon/paxos/record.h \
	daemon/paxos/replica.c \
	daemon/paxos/replica.h \
	daemon/paxos/restore.c \
	daemon/paxos/start.c \
	daemon/paxos/value.c \
	daemon/paxos/value.h \
	daemon/paxos/window.h
