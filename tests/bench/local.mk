# Measurements: run by hand, never part of the tests. The C programs are built by the suite when it runs.
EXTRA_DIST += \
	tests/bench/driver.c \
	tests/bench/failover \
	tests/bench/floor.c \
	tests/bench/partial \
	tests/bench/raft_server.c \
	tests/bench/rows.py \
	tests/bench/suite \
	tests/bench/systems.py
