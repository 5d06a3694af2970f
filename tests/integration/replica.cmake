conclave_test(test_replica SOURCES test_replica.c LIBS conclave_consensus LABEL integration TIMEOUT 120)
