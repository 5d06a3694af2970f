conclave_test(test_peer_codec SOURCES test_peer_codec.c LIBS conclave_consensus)
conclave_test(test_peers SOURCES test_peers.c LIBS conclave_consensus)
conclave_test(test_agreement SOURCES test_agreement.c LIBS conclave_consensus)
