conclave_test(test_net_address SOURCES test_net_address.c LIBS conclave_net)
conclave_test(test_net_http_conn SOURCES test_net_http_conn.c LIBS conclave_net)
conclave_test(test_net_link_frame SOURCES test_net_link_frame.c LIBS conclave_net)
conclave_test(test_net_link SOURCES test_net_link.c LIBS conclave_net)
