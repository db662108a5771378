# The simulator (sim.h): everything of the daemon above the system's calls, over the world of world.c.
tests_sim_sim_SOURCES = \
	tests/sim/client_reads.c \
	tests/sim/clients.c \
	tests/sim/clients.h \
	tests/sim/clients_private.h \
	tests/sim/disk.c \
	tests/sim/fault.c \
	tests/sim/fault.h \
	tests/sim/handed.c \
	tests/sim/handed.h \
	tests/sim/history.c \
	tests/sim/host.c \
	tests/sim/load.c \
	tests/sim/main.c \
	tests/sim/memory.c \
	tests/sim/model.c \
	tests/sim/network.c \
	tests/sim/observer.c \
	tests/sim/observer.h \
	tests/sim/observer_log.c \
	tests/sim/observer_private.h \
	tests/sim/observer_sent.c \
	tests/sim/peace.c \
	tests/sim/scenario.c \
	tests/sim/sim.c \
	tests/sim/sim.h \
	tests/sim/trace.c \
	tests/sim/world.c \
	tests/sim/world.h \
	tests/unit/vfs_memory.c \
	tests/unit/vfs_memory.h \
	tests/unit/vfs_memory_disk.c \
	tests/unit/vfs_memory_private.h \
	tests/unit/vfs_memory_rot.c
tests_sim_sim_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=replica_init,--wrap=replica_restore,--wrap=replica_start,--wrap=replica_step,--wrap=config_identity
tests_sim_sim_LDADD = daemon/host/libhost.a daemon/host/libconfig.a daemon/wire/libwire.a daemon/journal/libjournal.a \
	daemon/paxos/libpaxos.a
check_PROGRAMS += tests/sim/sim
EXTRA_DIST += tests/sim/check tests/sim/mutants tests/sim/seeds
SIM_TESTS = tests/sim/check

SIM_SECONDS = 60
sim: tests/sim/sim
	tests/sim/sim --seeds $(top_srcdir)/tests/sim/seeds --quiet
	tests/sim/sim --seconds $(SIM_SECONDS) --quiet
.PHONY: sim
