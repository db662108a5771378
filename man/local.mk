dist_man_MANS += man/mpaxosd.8 man/mpaxosctl.1 man/replica_config.json.5 man/mpaxos.7 man/mpaxos_metrics.7
