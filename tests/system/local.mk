# Real daemons; tests/run calls them.
system_tests = \
	tests/system/harness.py \
	tests/system/lan.py \
	tests/system/partial.py \
	tests/system/run \
	tests/system/runner.py \
	tests/system/stalls.py \
	tests/system/tsan.supp \
	tests/system/test_access.py \
	tests/system/test_crash.py \
	tests/system/test_everyday.py \
	tests/system/test_hostile.py \
	tests/system/test_interrupted.py \
	tests/system/test_manual.py \
	tests/system/test_partial.py \
	tests/system/test_refusals.py \
	tests/system/test_sealed.py \
	tests/system/test_service.py \
	tests/system/test_storage.py \
	tests/system/wire.py
EXTRA_DIST += $(system_tests)
