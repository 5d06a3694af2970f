conclave_test(test_cli_log SOURCES test_cli_log.c ../lib/sim_disk.c ../lib/store_node.c
  LIBS conclave_cli conclave_command_make)
