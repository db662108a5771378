# Scenarios with their expected output. `make golden-rewrite` writes down what happens now: read the difference.
golden_scenarios = \
	tests/golden/chained.txt \
	tests/golden/constrained_election.txt \
	tests/golden/duel_of_two_leaders.txt \
	tests/golden/first_start_bootstrapped.txt \
	tests/golden/first_start_with_one_missing.txt \
	tests/golden/key_retried_over_leader_change.txt \
	tests/golden/laggard_elected.txt \
	tests/golden/laggard_gets_checkpoint.txt \
	tests/golden/lost_promise_page.txt \
	tests/golden/pipelined_order_over_leader_change.txt \
	tests/golden/quorum_loss.txt \
	tests/golden/restarted_bidder.txt \
	tests/golden/skipped_slot.txt \
	tests/golden/stale_leader.txt \
	tests/golden/vanished_bidder.txt \
	tests/golden/wiped_disk.txt

check_PROGRAMS += tests/golden/golden
tests_golden_golden_SOURCES = \
	tests/golden/commands.c \
	tests/golden/golden.c \
	tests/golden/golden.h \
	tests/golden/words.c \
	tests/golden/world.c
tests_golden_golden_LDADD = daemon/paxos/libpaxos.a

GOLDEN_TESTS = $(golden_scenarios)
TEST_EXTENSIONS = .txt
TXT_LOG_COMPILER = timeout
AM_TXT_LOG_FLAGS = --foreground -k 10 60 tests/golden/golden
EXTRA_DIST += $(golden_scenarios)

golden-rewrite: tests/golden/golden
	cd $(srcdir) && $(abs_builddir)/tests/golden/golden --rewrite $(golden_scenarios)
.PHONY: golden-rewrite
