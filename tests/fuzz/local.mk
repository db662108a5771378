# Fuzz targets (tests/fuzz/fuzz.h). `make check` replays their corpora, with any compiler, and cmocka; `make fuzz` lets
# them search, with clang: make fuzz FUZZ_SECONDS=600 FUZZ_TARGETS='journal cluster'.
fuzz_targets = checkpoint cluster config control datagram driver journal keyfile mark replica seal varlink
fuzz_replays = \
	tests/fuzz/fuzz_checkpoint \
	tests/fuzz/fuzz_cluster \
	tests/fuzz/fuzz_config \
	tests/fuzz/fuzz_control \
	tests/fuzz/fuzz_datagram \
	tests/fuzz/fuzz_driver \
	tests/fuzz/fuzz_journal \
	tests/fuzz/fuzz_keyfile \
	tests/fuzz/fuzz_mark \
	tests/fuzz/fuzz_replica \
	tests/fuzz/fuzz_seal \
	tests/fuzz/fuzz_varlink

if HAVE_CMOCKA
check_PROGRAMS += $(fuzz_replays)
FUZZ_TESTS = $(fuzz_replays)
endif
fuzz_common = tests/fuzz/fuzz.h tests/fuzz/hang.h tests/fuzz/inputs.h tests/fuzz/replay.c
tests_fuzz_fuzz_checkpoint_SOURCES = tests/fuzz/fuzz_checkpoint.c $(fuzz_common)
tests_fuzz_fuzz_cluster_SOURCES = tests/fuzz/fuzz_cluster.c $(fuzz_common)
tests_fuzz_fuzz_cluster_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_fuzz_fuzz_cluster_LDADD = $(sim_libraries)
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c tests/fuzz/config_text.c tests/fuzz/config_text.h $(fuzz_common)
fuzz_control_wrap = -Wl,--wrap=access_of_peer
tests_fuzz_fuzz_control_SOURCES = tests/fuzz/fuzz_control.c tests/fuzz/owed.c tests/fuzz/owed.h $(fuzz_common)
tests_fuzz_fuzz_control_LDFLAGS = $(AM_LDFLAGS) $(fuzz_control_wrap)
tests_fuzz_fuzz_control_LDADD = tests/unit/libfake.a $(unit_libraries)
tests_fuzz_fuzz_datagram_SOURCES = tests/fuzz/fuzz_datagram.c $(fuzz_common)
tests_fuzz_fuzz_driver_SOURCES = tests/fuzz/fuzz_driver.c tests/fuzz/answers.c tests/fuzz/intrusion.c \
	tests/fuzz/intrusion.h tests/fuzz/pages.c tests/fuzz/pages.h tests/fuzz/says.c tests/fuzz/says.h $(fuzz_common)
tests_fuzz_fuzz_driver_LDFLAGS = $(AM_LDFLAGS) $(sim_wrap)
tests_fuzz_fuzz_driver_LDADD = $(sim_libraries)
fuzz_journal_beside = \
	tests/fuzz/journal_acts.c \
	tests/fuzz/journal_damage.c \
	tests/fuzz/journal_judge.c \
	tests/fuzz/journal_repair.c \
	tests/fuzz/journal_story.c \
	tests/fuzz/journal_truth.c
tests_fuzz_fuzz_journal_SOURCES = tests/fuzz/fuzz_journal.c $(fuzz_journal_beside) tests/fuzz/journal_damage.h \
	tests/fuzz/journal_session.h tests/fuzz/journal_story.h tests/fuzz/journal_truth.h $(fuzz_common)
tests_fuzz_fuzz_keyfile_SOURCES = tests/fuzz/fuzz_keyfile.c $(fuzz_common)
tests_fuzz_fuzz_mark_SOURCES = tests/fuzz/fuzz_mark.c $(fuzz_common)
tests_fuzz_fuzz_replica_SOURCES = tests/fuzz/fuzz_replica.c tests/fuzz/host.c tests/fuzz/host.h \
	tests/fuzz/host_checkpoint.c tests/fuzz/host_votes.c tests/fuzz/says.c tests/fuzz/says.h $(fuzz_common)
tests_fuzz_fuzz_seal_SOURCES = tests/fuzz/fuzz_seal.c $(fuzz_common)
tests_fuzz_fuzz_varlink_SOURCES = tests/fuzz/fuzz_varlink.c $(fuzz_common)
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/run

# The seeds, made anew: make fuzz-seeds
EXTRA_PROGRAMS = tests/fuzz/seeds
CLEANFILES += tests/fuzz/seeds
tests_fuzz_seeds_SOURCES = tests/fuzz/seeds.c tests/fuzz/seeds.h tests/fuzz/seeds_disk.c tests/fuzz/seeds_driver.c \
	tests/fuzz/seeds_peers.c tests/fuzz/seeds_seal.c tests/fuzz/seeds_socket.c
.PHONY: fuzz fuzz-seeds
fuzz-seeds: tests/fuzz/seeds
	tests/fuzz/seeds $(srcdir)/tests/fuzz/corpus

# --- libFuzzer, beside the build proper, whose business warnings are ---

FUZZ_CC = clang
FUZZ_CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SECONDS = 60
FUZZ_TARGETS = $(fuzz_targets)

fuzz_of = $(patsubst %.c,fuzz-build/%.o,$(filter %.c,$(1)))
fuzz_daemon = $(call fuzz_of,$(daemon_paxos_libpaxos_a_SOURCES) $(daemon_wire_libwire_a_SOURCES) \
	$(daemon_wire_libvarlink_a_SOURCES) $(nodist_daemon_wire_libvarlink_a_SOURCES) \
	$(daemon_journal_libjournal_a_SOURCES) $(daemon_host_libconfig_a_SOURCES) $(daemon_host_libhost_a_SOURCES))
fuzz_unit = $(call fuzz_of,$(tests_unit_libunit_a_SOURCES))
fuzz_fake = $(call fuzz_of,$(tests_unit_libfake_a_SOURCES))
fuzz_sim = $(call fuzz_of,$(tests_sim_libsim_a_SOURCES))
fuzz_archives = fuzz-build/sim.a fuzz-build/fake.a fuzz-build/unit.a fuzz-build/daemon.a

fuzz-build/%.o: %.c
	@$(MKDIR_P) $(@D)
	$(AM_V_CC)$(FUZZ_CC) $(DEFS) $(AM_CPPFLAGS) $(STD_CFLAGS) $(UV_CFLAGS) $(CJSON_CFLAGS) $(SYSTEMD_CFLAGS) \
		$(SODIUM_CFLAGS) $(FUZZ_CFLAGS) -w -fsanitize=fuzzer-no-link -MMD -c -o $@ $<
fuzz-build/daemon.a: $(fuzz_daemon)
fuzz-build/unit.a: $(fuzz_unit)
fuzz-build/fake.a: $(fuzz_fake)
fuzz-build/sim.a: $(fuzz_sim)
$(fuzz_archives):
	$(AM_V_AR)rm -f $@ && $(AR) cr $@ $^
fuzz_beside = $(patsubst %,fuzz-build/tests/fuzz/%.o,answers config_text host host_checkpoint host_votes intrusion \
	owed pages says) $(call fuzz_of,$(fuzz_journal_beside))
# What stands in the place of a part of the daemon goes before it.
fuzz-build/fuzz_cluster: fuzz_first = $(sim_wrap) fuzz-build/sim.a
fuzz-build/fuzz_config: fuzz_first = fuzz-build/tests/fuzz/config_text.o
fuzz-build/fuzz_control: fuzz_first = fuzz-build/tests/fuzz/owed.o $(fuzz_control_wrap) fuzz-build/fake.a
fuzz-build/fuzz_driver: fuzz_first = $(patsubst %,fuzz-build/tests/fuzz/%.o,answers intrusion pages says) $(sim_wrap) \
	fuzz-build/sim.a
fuzz-build/fuzz_journal: fuzz_first = $(call fuzz_of,$(fuzz_journal_beside))
fuzz-build/fuzz_replica: fuzz_first = $(patsubst %,fuzz-build/tests/fuzz/%.o,host host_checkpoint host_votes says)
fuzz-build/fuzz_%: fuzz-build/tests/fuzz/fuzz_%.o $(fuzz_beside) $(fuzz_archives)
	$(AM_V_CCLD)$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer -pthread -o $@ $< $(fuzz_first) fuzz-build/unit.a \
		fuzz-build/daemon.a $(CMOCKA_LIBS) $(UV_LIBS) $(CJSON_LIBS) $(SYSTEMD_LIBS) $(SODIUM_LIBS)
.PRECIOUS: fuzz-build/%.o
-include $(patsubst %.o,%.d,$(fuzz_daemon) $(fuzz_unit) $(fuzz_fake) $(fuzz_sim) \
	$(fuzz_targets:%=fuzz-build/tests/fuzz/fuzz_%.o) $(fuzz_beside))

fuzz: $(FUZZ_TARGETS:%=fuzz-build/fuzz_%)
	$(srcdir)/tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)
clean-local: clean-fuzz
clean-fuzz:
	rm -rf fuzz-build
