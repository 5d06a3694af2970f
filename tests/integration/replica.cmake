conclave_test(test_replica SOURCES test_replica.c LIBS conclave_consensus LABEL integration TIMEOUT 120)
conclave_test(test_replica_kill SOURCES test_replica_kill.c LIBS conclave_consensus LABEL integration TIMEOUT 120)
conclave_test(test_replica_folder SOURCES test_replica_folder.c LIBS conclave_consensus LABEL integration TIMEOUT 120)
conclave_test(test_replica_members SOURCES test_replica_members.c LIBS conclave_consensus LABEL integration TIMEOUT 120)
