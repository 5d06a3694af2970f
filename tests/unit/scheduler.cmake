conclave_test(test_validate SOURCES test_validate.c LIBS conclave_scheduler)
