# Real daemons; tests/run calls them.
system_tests = \
	tests/system/harness.py \
	tests/system/run
EXTRA_DIST += $(system_tests)
