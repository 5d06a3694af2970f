# The store on a simulated disk, and once on a real one.
set(CONCLAVE_STORE_LIB ../lib/sim_disk.c ../lib/store_node.c)
conclave_test(test_store SOURCES test_store.c ${CONCLAVE_STORE_LIB} LIBS conclave_consensus)
conclave_test(test_store_crash SOURCES test_store_crash.c ${CONCLAVE_STORE_LIB} LIBS conclave_consensus TIMEOUT 300)
conclave_test(test_store_transfer SOURCES test_store_transfer.c ${CONCLAVE_STORE_LIB} LIBS conclave_consensus)
conclave_test(test_store_damage SOURCES test_store_damage.c ${CONCLAVE_STORE_LIB} LIBS conclave_consensus TIMEOUT 300)
conclave_test(test_disk_file SOURCES test_disk_file.c LIBS conclave_consensus)
conclave_test(test_reinstall SOURCES test_reinstall.c ${CONCLAVE_STORE_LIB} LIBS conclave_consensus)
