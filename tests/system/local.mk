# Real daemons; tests/run calls them.
system_tests =
EXTRA_DIST += $(system_tests)
