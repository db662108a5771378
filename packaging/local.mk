EXTRA_DIST += packaging/demo packaging/deps packaging/build
