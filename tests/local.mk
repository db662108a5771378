include tests/unit/local.mk
include tests/sim/local.mk
include tests/fuzz/local.mk
include tests/golden/local.mk
include tests/lint/local.mk
include tests/system/local.mk
include tests/boxes/local.mk
include tests/bench/local.mk

TESTS = $(UNIT_TESTS) $(SIM_TESTS) $(GOLDEN_TESTS) $(FUZZ_TESTS) $(LINT_TESTS)
EXTRA_DIST += tests/coverage tests/run
