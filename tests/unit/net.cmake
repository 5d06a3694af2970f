conclave_test(test_net_address SOURCES test_net_address.c LIBS conclave_net)
