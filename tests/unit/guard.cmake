conclave_test(test_entry SOURCES test_entry.c LIBS conclave_consensus)
