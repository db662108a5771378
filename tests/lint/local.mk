lint_tests = \
	tests/lint/includes \
	tests/lint/symbols \
	tests/lint/shape \
	tests/lint/files \
	tests/lint/verbs \
	tests/lint/completion \
	tests/lint/manual \
	tests/lint/units \
	tests/lint/scripts \
	tests/lint/mutants \
	tests/lint/prove
LINT_TESTS = $(lint_tests)
EXTRA_DIST += $(lint_tests) tests/lint/lib.sh tests/lint/analyze tests/lint/cppcheck.h daemon/journal/.clang-tidy
