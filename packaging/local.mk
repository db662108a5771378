EXTRA_DIST += packaging/demo packaging/deps packaging/build packaging/package packaging/debian packaging/rpm
