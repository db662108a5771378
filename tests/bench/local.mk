# Measurements: run by hand, never part of the tests.
EXTRA_DIST += \
	tests/bench/failover \
	tests/bench/partial
