# The simulator (sim.h): everything of the daemon above the system's calls, over the world of world.c.
tests_sim_libsim_a_SOURCES = \
	tests/sim/bootstrap.c \
	tests/sim/chat.h \
	tests/sim/chatcheck.c \
	tests/sim/chatdisk.c \
	tests/sim/chatline.c \
	tests/sim/client_reads.c \
	tests/sim/clients.c \
	tests/sim/clients.h \
	tests/sim/clients_private.h \
	tests/sim/core.c \
	tests/sim/cut.c \
	tests/sim/disk.c \
	tests/sim/fault.c \
	tests/sim/fault.h \
	tests/sim/found.c \
	tests/sim/found.h \
	tests/sim/handed.c \
	tests/sim/handed.h \
	tests/sim/happened.c \
	tests/sim/happened.h \
	tests/sim/history.c \
	tests/sim/host.c \
	tests/sim/load.c \
	tests/sim/memory.c \
	tests/sim/mended.c \
	tests/sim/model.c \
	tests/sim/network.c \
	tests/sim/observer.c \
	tests/sim/observer.h \
	tests/sim/observer_log.c \
	tests/sim/observer_private.h \
	tests/sim/observer_sent.c \
	tests/sim/partial.c \
	tests/sim/peace.c \
	tests/sim/rot.c \
	tests/sim/scenario.c \
	tests/sim/sealed.c \
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
sim_wrap = -Wl,--wrap=replica_init,--wrap=replica_restore,--wrap=replica_restore_checkpoint,--wrap=replica_start \
	-Wl,--wrap=replica_step,--wrap=config_identity,--wrap=journal_checkpoint_begin,--wrap=journal_checkpoint_finish \
	-Wl,--wrap=seal_datagram,--wrap=seal_open \
	-Wl,--wrap=chatlog_open,--wrap=chatlog_skip,--wrap=chatlog_flush
sim_libraries = tests/sim/libsim.a daemon/host/libhost.a daemon/host/libconfig.a daemon/wire/libwire.a \
	daemon/journal/libjournal.a daemon/paxos/libpaxos.a $(SODIUM_LIBS)
tests_sim_sim_SOURCES = tests/sim/main.c
tests_sim_sim_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_sim_sim_LDADD = $(sim_libraries)
check_LIBRARIES += tests/sim/libsim.a
check_PROGRAMS += tests/sim/sim
EXTRA_DIST += tests/sim/check tests/sim/mutants tests/sim/breaking.py tests/sim/chatlines.py tests/sim/protections.py \
	tests/sim/same tests/sim/seeds
SIM_TESTS = tests/sim/check

# cmocka programs over the same cluster: what clients, elections and a first start are promised.
tests_sim_test_clients_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_sim_test_clients_LDADD = $(sim_libraries) $(CMOCKA_LIBS)
tests_sim_test_election_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_sim_test_election_LDADD = $(sim_libraries) $(CMOCKA_LIBS)
tests_sim_test_start_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_sim_test_start_LDADD = $(sim_libraries) $(CMOCKA_LIBS)
if HAVE_CMOCKA
sim_tests = tests/sim/test_clients tests/sim/test_election tests/sim/test_start
check_PROGRAMS += $(sim_tests)
SIM_TESTS += $(sim_tests)
endif

# Fresh seeds on all processors: make sim SIM_SECONDS=600, or SIM_SEEDS=100000.
SIM_SECONDS = 60
SIM_SEEDS =
sim: tests/sim/sim
	tests/sim/sim --seeds $(top_srcdir)/tests/sim/seeds --quiet
	tests/sim/sim $(if $(SIM_SEEDS),--count $(SIM_SEEDS),--seconds $(SIM_SECONDS)) --quiet
.PHONY: sim
