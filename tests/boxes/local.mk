# The package under a real systemd; tests/run calls them where root and systemd-nspawn are.
boxes_tests = \
	tests/boxes/box.py \
	tests/boxes/cluster.py \
	tests/boxes/packages.py \
	tests/boxes/run \
	tests/boxes/test_hosts.py \
	tests/boxes/test_one_host.py \
	tests/boxes/test_payload.py \
	tests/boxes/test_varlink.py
EXTRA_DIST += $(boxes_tests)
