conclave_test(test_validate SOURCES test_validate.c LIBS conclave_scheduler)
conclave_test(test_lag SOURCES test_lag.c LIBS conclave_scheduler)
